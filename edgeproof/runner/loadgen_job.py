"""Run one job under LoadGen: load the artifact, warm up, run one test, describe the outcome.

The process runs exactly one LoadGen test, because a second one in the same process would get seeds of zero.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.directories import hash_file, read_meta
from edgeproof.core.job import ACCURACY_MODE, PERFORMANCE_MODE, RunnerJob
from edgeproof.core.sessions import InferenceSession
from edgeproof.runner import conditions, limits, loadgen, telemetry, warmup
from edgeproof.runner.outputs import check_output
from edgeproof.runner.warmup import WarmUp

# LoadGen reads a clock that can be set, and a jump of it falsifies LoadGen's times. NTP's slewing stays far below this.
CLOCK_JUMP_NS = 20_000_000
CLOCK_DRIFT = 0.001

Array = np.ndarray[Any, Any]


class RefusedError(RuntimeError):
    """The device can't run this job as requested."""


@dataclass(frozen=True)
class LoadedSession:
    """A session after its first inference, with the time and memory that it took so far."""

    session: InferenceSession
    output_shape: tuple[int, ...]
    load_ns: int
    first_inference_ns: int
    rss_before_bytes: int


def run(job: RunnerJob, job_dir: Path, result_dir: Path) -> dict[str, Any]:
    """Run a job of LoadGen and return the content of result.json without the fingerprint.

    Raises RefusedError for damaged samples or too little memory, and TypeError or ValueError for an unusable output.
    """
    runtime = plugins.load("runtimes", job.runtime)
    inputs = np.load(job_dir / job.samples, mmap_mode="r", allow_pickle=False)
    meta = read_meta(job_dir / job.artifact)
    # The size of another first output is as good if it depends on the data.
    shape = None if meta.get("output_size_varies") else meta.get("output_shape")
    if job.mode == ACCURACY_MODE and job.samples_sha256 is not None:
        _check_samples(job_dir / job.samples, job.samples_sha256)
    with telemetry.record_telemetry(result_dir / telemetry.FILE, job.energy_counter):
        # The limits hold for this process. The telemetry process, which runs already, stays outside them.
        limits.apply(job.cores, job.memory_bytes)
        sample = np.ascontiguousarray(inputs[:1])
        loaded = _load(runtime, job_dir / job.artifact, job.threads, sample, shape)
        # Outputs are the same on a cold and on a warm machine, so accuracy needs no warm-up.
        timed = job.mode == PERFORMANCE_MODE
        warm_up = warmup.warm_up(lambda: loaded.session(sample), job.warm_up_s if timed else 0.0)
        gc.collect()
        needed_bytes = None
        if timed:
            needed_bytes = loadgen.estimate_memory_bytes(job.scenario, job.settings, warm_up.call_ns)
            _require_memory(needed_bytes)
        outcome = loadgen.run(
            loaded.session,
            inputs,
            mode=job.mode,
            scenario=job.scenario,
            settings=job.settings,
            call_ns=warm_up.call_ns,
            audit=job.audit,
            out_dir=result_dir,
        )
    return {
        **_describe_outcome(outcome),
        **_describe_session(loaded, warm_up),
        "needed_bytes": needed_bytes,
        "energy_method": _describe_energy_method(job.energy_counter),
        "versions": {name: conditions.read_version(name) for name in job.packages},
        "runtime_build": runtime.describe(),
        "threads": job.threads,
    }


def find_clock_error(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Return an error if the settable clock and the steady one disagree about the run's duration, or None."""
    steady = after["monotonic_ns"] - before["monotonic_ns"]
    jump = after["realtime_ns"] - before["realtime_ns"] - steady
    if abs(jump) <= CLOCK_JUMP_NS + CLOCK_DRIFT * steady:
        return None
    return f"the device's clock jumped by {jump / 1e9:+.3f} s during the run, and LoadGen's times with it"


def _load(runtime: Any, artifact: Path, threads: int, sample: Array, shape: list[int] | None) -> LoadedSession:
    """Load an artifact and run its first inference, whose output is checked."""
    rss_before = conditions.read_peak_rss_bytes()
    started = time.perf_counter_ns()
    session: InferenceSession = runtime.Session(artifact, threads=threads)
    loaded = time.perf_counter_ns()
    output = session(sample)
    first_inference_ns = time.perf_counter_ns() - loaded
    check_output(output, shape)
    return LoadedSession(session, output.shape, loaded - started, first_inference_ns, rss_before)


def _describe_outcome(outcome: loadgen.LoadGenOutcome) -> dict[str, Any]:
    error = outcome.error or find_clock_error(outcome.before, outcome.after)
    return {
        "status": "error" if error else "done",
        "error": error,
        "loadgen": outcome.log,
        "counters": {"before": outcome.before, "after": outcome.after},
    }


def _describe_session(loaded: LoadedSession, warm_up: WarmUp) -> dict[str, Any]:
    states = loaded.session.list_states()
    return {
        **({"states": states} if states else {}),
        "load_ns": loaded.load_ns,
        "first_inference_ns": loaded.first_inference_ns,
        "warm_up": warm_up.as_dict(),
        "output_shape": list(loaded.output_shape),
        "peak_rss_bytes": conditions.read_peak_rss_bytes(),
        "rss_before_load_bytes": loaded.rss_before_bytes,
        "fallbacks": loaded.session.fallbacks(),
    }


def _require_memory(needed_bytes: int) -> None:
    """Raise RefusedError if the device has less memory than the queries need."""
    free_bytes = conditions.read_available_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise RefusedError(
            f"the queries that LoadGen generates ahead need about {needed_bytes / 1e9:.1f} GB and the device has "
            f"{free_bytes / 1e9:.1f} GB available; lower min_duration_ms or min_query_count"
        )


def _check_samples(path: Path, expected_sha256: str) -> None:
    """Raise RefusedError for a damaged samples file, which would otherwise look like a worse model."""
    if hash_file(path) != expected_sha256:
        raise RefusedError(f"{path.name} is damaged on the device")


def _describe_energy_method(counter: str | None) -> str | None:
    if conditions.read_energy_uj(counter) is None:
        return None
    return f"counter {counter}" if counter else "RAPL through powercap"
