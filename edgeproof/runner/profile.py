"""Profile an artifact by operator, list where each operator runs, and time the preprocessing of its raw inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.core.job import RunnerJob
from edgeproof.runner import limits, preprocessing
from edgeproof.runner.samples import load_row, open_samples

Array = np.ndarray[Any, Any]

MAX_NAME = 200  # engines join the names of fused layers


def run(job: RunnerJob, job_dir: Path) -> dict[str, Any]:
    """Profile a job's artifact and return the content of result.json without the fingerprint.

    The result names the reason if the runtime cannot profile this artifact, or list the placement of its operators, or
    if the raw inputs of the job's task cannot be preprocessed.
    """
    runtime = plugins.load("runtimes", job.runtime)
    sample = load_row(open_samples(job_dir, job.samples), 0)
    limits.apply(job.cores, job.memory_bytes)
    result: dict[str, Any] = {}
    if job.preprocessing is not None:  # first, because an engine may leave threads behind
        result["preprocessing"] = preprocessing.measure(job, job.preprocessing, job_dir, sample)
    profile = _profile(runtime, job, job_dir, sample)
    return {**result, **profile, "placement": _list_placements(runtime, job, job_dir, sample)}


def _profile(runtime: Any, job: RunnerJob, job_dir: Path, sample: tuple[Array, ...]) -> dict[str, Any]:
    try:
        if not hasattr(runtime, "profile"):
            raise Unsupported(f"the {job.runtime} runtime has no profiler")
        profile = runtime.profile(job_dir / job.artifact, sample, threads=job.threads)
    except Unsupported as reason:
        return {"status": "unprofiled", "reason": str(reason)}
    operators = [operator._asdict() for operator in profile.operators]
    return {"status": "profiled", "method": profile.method, "inferences": profile.inferences, "operators": operators}


def _list_placements(runtime: Any, job: RunnerJob, job_dir: Path, sample: tuple[Array, ...]) -> dict[str, Any]:
    try:
        if not hasattr(runtime, "list_placements"):
            raise Unsupported(f"the {job.runtime} runtime does not list where operators run")
        operators = runtime.list_placements(job_dir / job.artifact, sample, threads=job.threads)
    except Unsupported as reason:
        return {"missing": str(reason)}
    return {"operators": [operator._replace(name=operator.name[-MAX_NAME:])._asdict() for operator in operators]}
