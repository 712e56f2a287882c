"""Profile an artifact by operator, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.core.job import RunnerJob
from edgeproof.runner import limits
from edgeproof.runner.samples import load_row, open_samples


def run(job: RunnerJob, job_dir: Path) -> dict[str, Any]:
    """Profile a job's artifact and return the content of result.json without the fingerprint.

    The result names the reason if the runtime has no profiler or cannot profile this artifact.
    """
    runtime = plugins.load("runtimes", job.runtime)
    sample = load_row(open_samples(job_dir, job.samples), 0)
    limits.apply(job.cores, job.memory_bytes)
    try:
        if not hasattr(runtime, "profile"):
            raise Unsupported(f"the {job.runtime} runtime has no profiler")
        profile = runtime.profile(job_dir / job.artifact, sample, threads=job.threads)
    except Unsupported as reason:
        return {"status": "unprofiled", "reason": str(reason)}
    operators = [operator._asdict() for operator in profile.operators]
    return {"status": "profiled", "method": profile.method, "inferences": profile.inferences, "operators": operators}
