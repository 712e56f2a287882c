"""One job on the device: load the artifact, warm up, run one LoadGen test, describe what happened.

The process runs exactly one LoadGen test: a second one in the same process would get seeds of zero.
"""

from __future__ import annotations

import gc
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins

from . import conditions, loadgen

WARM_UP_NS = 50_000_000
WARM_UP_CALLS = 20
# LoadGen generates its queries ahead from the expected latency: below the real one, or it runs out of them; not far
# below, or they fill the memory. The floor is what a call through LoadGen costs at least.
EXPECTED_SHARE = 0.6
EXPECTED_FLOOR_NS = 1_000

Array = np.ndarray[Any, Any]


def run(job: dict[str, Any], job_dir: Path, result_dir: Path) -> dict[str, Any]:
    """Run the job described by job.json; returns the content of result.json, the fingerprint apart.

    `job` holds: runtime, artifact and samples (paths relative to `job_dir`), threads, mode, scenario, settings,
    packages (whose versions are reported).
    """
    runtime = plugins.load("runtimes", job["runtime"])
    inputs = np.load(job_dir / job["samples"], mmap_mode="r", allow_pickle=False)
    rss_before = conditions.peak_rss_bytes()
    started = time.perf_counter_ns()
    session = runtime.Session(job_dir / job["artifact"], threads=job["threads"])
    loaded = time.perf_counter_ns()
    first = _checked(session(np.ascontiguousarray(inputs[:1])))
    first_ns = time.perf_counter_ns() - loaded
    call_ns = _warm_up(session, np.ascontiguousarray(inputs[:1]))
    before = conditions.busyness()
    outcome = loadgen.run(
        session,
        inputs,
        mode=job["mode"],
        scenario=job["scenario"],
        settings=job["settings"],
        expected_call_ns=max(EXPECTED_FLOOR_NS, int(call_ns * EXPECTED_SHARE)),
        out_dir=result_dir,
    )
    return {
        "status": "error" if outcome.error else "done",
        "error": outcome.error,
        "loadgen": outcome.log,
        "load_ns": loaded - started,
        "first_inference_ns": first_ns,
        "warm_up_call_ns": call_ns,
        "output_shape": list(first.shape),
        "peak_rss_bytes": conditions.peak_rss_bytes(),
        "rss_before_load_bytes": rss_before,
        "busyness": {"before": before, "after": conditions.busyness()},
        "versions": {name: _version(name) for name in job["packages"]},
        "runtime_build": runtime.describe(),
        "threads": job["threads"],
    }


def _warm_up(session: Any, x: Array) -> int:
    """Call until both a time and a number of calls have passed; returns the median of the second half, in ns."""
    durations: list[int] = []
    begin = time.perf_counter_ns()
    while len(durations) < WARM_UP_CALLS or time.perf_counter_ns() - begin < WARM_UP_NS:
        started = time.perf_counter_ns()
        session(x)
        durations.append(time.perf_counter_ns() - started)
    gc.collect()
    return int(np.median(durations[len(durations) // 2 :]))


def _checked(output: Array) -> Array:
    if output.dtype != np.float32:
        raise TypeError(f"the session returned {output.dtype}, expected float32")
    if not np.isfinite(output).all():
        raise ValueError("the model's first output holds NaN or infinity")
    return output


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
