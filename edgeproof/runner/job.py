"""One job on the device: load the artifact, warm up, run one LoadGen test, describe what happened.

The process runs exactly one LoadGen test: a second one in the same process would get seeds of zero.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, sha256_of
from edgeproof.runner import conditions, limits, loadgen, telemetry, warmup

# LoadGen reads a clock that can be set: a jump falsifies what it reports. Slewing by NTP stays far below this.
CLOCK_JUMP_NS = 20_000_000
CLOCK_DRIFT = 0.001

Array = np.ndarray[Any, Any]


class RefusedError(RuntimeError):
    """The device can't run this job as asked."""


def run(job: dict[str, Any], job_dir: Path, result_dir: Path) -> dict[str, Any]:
    """Run the job described by job.json; returns the content of result.json, the fingerprint apart.

    `job` holds: runtime, artifact and samples (paths relative to `job_dir`), threads, mode, scenario, settings,
    warm_up_s (the longest it may take), packages (whose versions are reported), and perhaps audit (the text of an
    audit.config), energy_counter (a file that counts microjoules), cores and memory_bytes (what it is kept within), and
    samples_sha256 (of the samples' file, checked before accuracy is measured).
    """
    runtime = plugins.load("runtimes", job["runtime"])
    inputs = np.load(job_dir / job["samples"], mmap_mode="r", allow_pickle=False)
    x = np.ascontiguousarray(inputs[:1])
    shape = read_meta(job_dir / job["artifact"]).get("output_shape")
    if job["mode"] == "AccuracyOnly" and "samples_sha256" in job:
        _check_samples(job_dir / job["samples"], job["samples_sha256"])
    energy_counter = job.get("energy_counter")
    with telemetry.watching(result_dir / telemetry.FILE, energy_counter):
        # Telemetry keeps the processors and the memory that the job gives up.
        limits.apply(job.get("cores"), job.get("memory_bytes"))
        rss_before = conditions.peak_rss_bytes()
        started = time.perf_counter_ns()
        session = runtime.Session(job_dir / job["artifact"], threads=job["threads"])
        loaded = time.perf_counter_ns()
        first = session(x)
        first_ns = time.perf_counter_ns() - loaded
        check_output(first, shape)
        # Answers are the same in any state, so accuracy waits for none.
        timed = job["mode"] == "PerformanceOnly"
        warm = warmup.until_steady(lambda: session(x), job["warm_up_s"] if timed else 0.0)
        gc.collect()
        needed = None
        if timed:
            needed = loadgen.needed_bytes(job["scenario"], job["settings"], warm.call_ns)
            _refuse_without(needed)
        outcome = loadgen.run(
            session,
            inputs,
            mode=job["mode"],
            scenario=job["scenario"],
            settings=job["settings"],
            call_ns=warm.call_ns,
            audit=job.get("audit"),
            out_dir=result_dir,
        )
    error = outcome.error or clock_error(outcome.before, outcome.after)
    return {
        "status": "error" if error else "done",
        "error": error,
        "loadgen": outcome.log,
        "load_ns": loaded - started,
        "first_inference_ns": first_ns,
        "warm_up": warm.as_dict(),
        "output_shape": list(first.shape),
        "peak_rss_bytes": conditions.peak_rss_bytes(),
        "rss_before_load_bytes": rss_before,
        "needed_bytes": needed,
        "counters": {"before": outcome.before, "after": outcome.after},
        "energy_method": _energy_method(energy_counter),
        "fallbacks": session.fallbacks(),
        "versions": {name: conditions.version(name) for name in job["packages"]},
        "runtime_build": runtime.describe(),
        "threads": job["threads"],
    }


def clock_error(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What to say when the settable clock and the steady one disagree about how long the run took."""
    steady = after["monotonic_ns"] - before["monotonic_ns"]
    jump = after["realtime_ns"] - before["realtime_ns"] - steady
    if abs(jump) <= CLOCK_JUMP_NS + CLOCK_DRIFT * steady:
        return None
    return f"the device's clock jumped by {jump / 1e9:+.3f} s during the run, and LoadGen's times with it"


def _refuse_without(needed: int) -> None:
    free = conditions.available_bytes()
    if free is not None and needed > free:
        raise RefusedError(
            f"the queries that LoadGen generates ahead need about {needed / 1e9:.1f} GB and the device has "
            f"{free / 1e9:.1f} GB available; lower min_duration_ms or min_query_count"
        )


def _check_samples(path: Path, expected_sha256: str) -> None:
    """What decayed on the device's disk would only look like a worse model."""
    if sha256_of(path) != expected_sha256:
        raise RefusedError(f"{path.name} is damaged on the device")


def check_output(output: Array, shape: list[int] | None) -> None:
    """Raise TypeError or ValueError where an output (1, ...) is not finite float32 of the shape, if one is given."""
    if output.dtype != np.float32:
        raise TypeError(f"the session returned {output.dtype}, expected float32")
    if shape is not None and list(output.shape) != shape:
        raise ValueError(f"the model's output has shape {list(output.shape)}, expected {shape}")
    if not np.isfinite(output).all():
        raise ValueError("the model's first output holds NaN or infinity")


def _energy_method(counter: str | None) -> str | None:
    if conditions.energy_uj(counter) is None:
        return None
    return f"counter {counter}" if counter else "RAPL through powercap"
