"""Run one job under LoadGen: load the artifact, warm up, run one test, describe the outcome.

The process runs exactly one LoadGen test, because a second one in the same process would get seeds of zero.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.artifacts import read_outputs
from edgeproof.core.directories import hash_file, read_meta
from edgeproof.core.job import ACCURACY_MODE, PERFORMANCE_MODE, RunnerJob
from edgeproof.core.ports import Port
from edgeproof.runner import conditions, limits, loadgen, telemetry, warmup
from edgeproof.runner.inference import Inference, load_postprocessing
from edgeproof.runner.outputs import check_outputs
from edgeproof.runner.samples import load_row, open_samples
from edgeproof.runner.warmup import WarmUp

# LoadGen reads a clock that can be set, and a jump of it falsifies LoadGen's times. NTP's slewing stays far below this.
CLOCK_JUMP_NS = 20_000_000
CLOCK_DRIFT = 0.001

Array = np.ndarray[Any, Any]


class RefusedError(RuntimeError):
    """The device can't run this job as requested."""


@dataclass(frozen=True)
class LoadedArtifact:
    """An artifact after its first inference, with the time and memory that it took so far.

    `ports` describe what an inference returns: the artifact's outputs, or what the task's postprocessing makes of them.
    """

    inference: Inference
    ports: tuple[Port, ...]
    output_shapes: list[list[int]]
    load_ns: int
    first_inference_ns: int
    rss_before_bytes: int


def run(job: RunnerJob, job_dir: Path, result_dir: Path) -> dict[str, Any]:
    """Run a job of LoadGen and return the content of result.json without the fingerprint.

    Raises RefusedError for damaged samples or too little memory, and TypeError or ValueError for an unusable output.
    """
    runtime = plugins.load("runtimes", job.runtime)
    samples = open_samples(job_dir, job.samples)
    if job.mode == ACCURACY_MODE and job.samples_sha256 is not None:
        _check_samples(job_dir, job.samples, job.samples_sha256)
    with telemetry.record_telemetry(result_dir / telemetry.FILE, job.energy_counter):
        # The limits hold for this process. The telemetry process, which runs already, stays outside them.
        limits.apply(job.cores, job.memory_bytes)
        sample = load_row(samples, 0)
        loaded = _load(runtime, job, job_dir / job.artifact, sample)
        # Outputs are the same on a cold and on a warm machine, so accuracy needs no warm-up.
        timed = job.mode == PERFORMANCE_MODE
        warm_up = warmup.warm_up(lambda: loaded.inference(*sample), job.warm_up_s if timed else 0.0)
        gc.collect()
        needed_bytes = None
        if timed:
            needed_bytes = loadgen.estimate_memory_bytes(job.scenario, job.settings, warm_up.call_ns)
            _require_memory(needed_bytes)
        outcome = loadgen.run(
            loaded.inference,
            samples,
            ports=loaded.ports,
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


def _load(runtime: Any, job: RunnerJob, artifact: Path, sample: tuple[Array, ...]) -> LoadedArtifact:
    """Load an artifact and run its first inference, whose outputs are checked."""
    meta = read_meta(artifact)
    postprocessing = load_postprocessing(job.task)
    rss_before = conditions.read_peak_rss_bytes()
    started = time.perf_counter_ns()
    session = runtime.Session(artifact, threads=job.threads)
    loaded = time.perf_counter_ns()
    outputs = session(*sample)
    first_inference_ns = time.perf_counter_ns() - loaded
    # An output of another size is as good if its size depends on the data.
    check_outputs(outputs, read_outputs(meta), sizes_vary=meta.get("output_size_varies", False))
    shapes = [list(output.shape) for output in outputs]
    ports = read_outputs(meta)
    if postprocessing is not None:
        check_outputs(postprocessing.run(*outputs), postprocessing.ports)
        ports = postprocessing.ports
    inference = Inference(session, postprocessing)
    return LoadedArtifact(inference, ports, shapes, loaded - started, first_inference_ns, rss_before)


def _describe_outcome(outcome: loadgen.LoadGenOutcome) -> dict[str, Any]:
    error = outcome.error or find_clock_error(outcome.before, outcome.after)
    return {
        "status": "error" if error else "done",
        "error": error,
        "loadgen": outcome.log,
        "counters": {"before": outcome.before, "after": outcome.after},
    }


def _describe_session(loaded: LoadedArtifact, warm_up: WarmUp) -> dict[str, Any]:
    states = loaded.inference.session.list_states()
    plan = loaded.inference.session.measure_memory_plan()
    return {
        **({"states": states} if states else {}),
        **({"memory_plan": plan} if plan else {}),
        "load_ns": loaded.load_ns,
        "first_inference_ns": loaded.first_inference_ns,
        "warm_up": warm_up.as_dict(),
        "output_shapes": loaded.output_shapes,
        "peak_rss_bytes": conditions.read_peak_rss_bytes(),
        "rss_before_load_bytes": loaded.rss_before_bytes,
        "fallbacks": loaded.inference.session.fallbacks(),
    }


def _require_memory(needed_bytes: int) -> None:
    """Raise RefusedError if the device has less memory than the queries need."""
    free_bytes = conditions.read_available_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise RefusedError(
            f"the queries that LoadGen generates ahead need about {needed_bytes / 1e9:.1f} GB and the device has "
            f"{free_bytes / 1e9:.1f} GB available; lower min_duration_ms or min_query_count"
        )


def _check_samples(job_dir: Path, names: Sequence[str], expected_sha256: Sequence[str]) -> None:
    """Raise RefusedError for a damaged samples file, which would otherwise look like a worse model."""
    for name, sha256 in zip(names, expected_sha256, strict=True):
        if hash_file(job_dir / name) != sha256:
            raise RefusedError(f"{Path(name).name} is damaged on the device")


def _describe_energy_method(counter: str | None) -> str | None:
    if conditions.read_energy_uj(counter) is None:
        return None
    return f"counter {counter}" if counter else "RAPL through powercap"
