"""An artifact's profile by operator, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.runner import limits

MODE = "Profile"


def run(job: dict[str, Any], job_dir: Path) -> dict[str, Any]:
    """Profile the artifact of job.json; returns the content of result.json, the fingerprint apart.

    A runtime that has no profile, or can't take one of this artifact, says so and why.
    """
    runtime = plugins.load("runtimes", job["runtime"])
    inputs = np.load(job_dir / job["samples"], mmap_mode="r", allow_pickle=False)
    x = np.ascontiguousarray(inputs[:1])
    limits.apply(job.get("cores"), job.get("memory_bytes"))
    try:
        if not hasattr(runtime, "profile"):
            raise Unsupported(f"the {job['runtime']} runtime tells no time by operator")
        found = runtime.profile(job_dir / job["artifact"], x, threads=job["threads"])
    except Unsupported as reason:
        return {"status": "unprofiled", "reason": str(reason)}
    operators = [operator._asdict() for operator in found.operators]
    return {"status": "profiled", "method": found.method, "inferences": found.inferences, "operators": operators}
