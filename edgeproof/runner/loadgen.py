"""Run one test of MLPerf LoadGen with inline completion, and keep the raw latencies.

No other module imports LoadGen. FastSUT with inline completion has the least overhead of LoadGen's Python interfaces.
A second Python thread in this process would cost milliseconds, so there is none.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import loadgen_log
from edgeproof.core.job import ACCURACY_MODE, MLPERF_DURATION_MS
from edgeproof.core.ports import Port
from edgeproof.core.sessions import InferenceSession
from edgeproof.runner import conditions
from edgeproof.runner.inference import Inference
from edgeproof.runner.outputs import ResponsePacker
from edgeproof.runner.samples import load_row

Array = np.ndarray[Any, Any]
# LoadGen's settings under their names in TestSettings.
Settings = Mapping[str, int | float]

LATENCIES = "latencies.npz"
USER_CONF = "user.conf"
PERFORMANCE_SAMPLES = 1024
# LoadGen's built-in mlperf.conf has settings for all models and special ones for the models of MLPerf's benchmarks.
# This name is none of those.
MODEL = "edgeproof"
# The measured memory of each query that LoadGen generates ahead, and of each recorded duration of an inference.
BYTES_A_QUERY = 391
BYTES_AN_INFERENCE = 24
GENERATED_AHEAD = 2
MULTI_STREAM_SAMPLES = 8
# LoadGen generates its queries ahead from the expected latency. If that is above the real one, it runs out of queries.
# If it is far below, the queries fill the memory. The floor is the least cost of a call through LoadGen.
EXPECTED_SHARE = 0.6
EXPECTED_FLOOR_NS = 1_000
# Offline is one query of many samples: enough of them if the machine becomes a third faster than in the warm-up.
OFFLINE_SHARE = 0.75
OFFLINE_SURPLUS = 1.1
# For each setting of LoadGen's TestSettings: its name in user.conf, and the number of our units in one of its units.
CONF_KEYS = {
    "min_duration_ms": ("min_duration", 1),
    "min_query_count": ("min_query_count", 1),
    "multi_stream_samples_per_query": ("samples_per_query", 1),
    "server_target_latency_ns": ("target_latency", 1_000_000),
    "server_target_qps": ("target_qps", 1),
    "single_stream_expected_latency_ns": ("target_latency", 1_000_000),
    "multi_stream_expected_latency_ns": ("target_latency", 1_000_000),
    "offline_expected_qps": ("target_qps", 1),
}


@dataclass(frozen=True)
class LoadGenOutcome:
    """The outcome of one LoadGen test.

    Attributes:
        log: LoadGen's detail log as key → value.
        error: the first exception in a callback, or None.
        before, after: the counters before the first query and after the last.
    """

    log: dict[str, Any]
    error: str | None
    before: dict[str, Any]
    after: dict[str, Any]


def run(
    inference: Inference,
    samples: Sequence[Array],
    *,
    ports: Sequence[Port] = (),
    mode: str,
    scenario: str,
    settings: Settings,
    call_ns: int,
    out_dir: Path,
    audit: str | None = None,
) -> LoadGenOutcome:
    """Run one test and write LoadGen's logs, user.conf and latencies.npz to `out_dir`.

    `samples` have an array (N, *shape) for each input; `ports` describe what an inference returns. In ACCURACY_MODE the
    session forgets all earlier inferences before each sample. While performance is measured it keeps its state, as in
    an application.

    `call_ns` is the measured duration of an inference, from which LoadGen's expected latency is computed.

    latencies.npz holds one entry an inference, in the order of execution: call_ns is the duration from feeding the
    inputs to the last step, invoke_ns is the engine's part of it, postprocess_ns is the task's part if it has
    postprocessing, and started_ns is the start, 0 for the first.

    Raises ValueError for settings that LoadGen does not have.
    """
    import mlperf_loadgen as lg

    packer = ResponsePacker(ports) if mode == ACCURACY_MODE or audit else None
    under_test = _SystemUnderTest(inference, samples, lg, packer, resets_state=mode == ACCURACY_MODE)
    sut = lg.ConstructFastSUT(under_test.issue, under_test.flush)
    count = len(samples[0])
    qsl = lg.ConstructQSL(count, min(count, PERFORMANCE_SAMPLES), under_test.load_samples, under_test.unload_samples)
    log = lg.LogSettings()
    log.enable_trace = False
    log.log_output.outdir = str(out_dir)
    log.log_output.copy_summary_to_stdout = False
    test = _build_settings(lg, mode, scenario, {**settings, **_expect(scenario, settings, call_ns)}, out_dir)
    # By default LoadGen reads an audit.config that happens to lie in the working directory. This name prevents that.
    audit_config = out_dir / ("audit.config" if audit else "no-audit.config")
    if audit:
        audit_config.write_text(audit, encoding="ascii")
    gc.collect()
    gc.freeze()
    gc.disable()
    lg.StartTestWithLogSettings(sut, qsl, test, log, str(audit_config))
    gc.enable()
    _save(under_test, out_dir)
    detail_log = _read_detail_log(out_dir / loadgen_log.DETAIL_LOG)
    return LoadGenOutcome(detail_log, under_test.error, under_test.before, under_test.after)


def estimate_memory_bytes(scenario: str, settings: Settings, call_ns: int) -> int:
    """Estimate the memory of a performance run: the queries that LoadGen generates ahead, and the raw durations."""
    duration_ns = (settings.get("min_duration_ms") or MLPERF_DURATION_MS) * 1e6
    samples = _get_samples_per_query(settings) if scenario == "MultiStream" else 1
    queries = GENERATED_AHEAD * duration_ns / (_compute_expected_ns(call_ns) * samples)
    if scenario == "Server":
        queries = GENERATED_AHEAD * duration_ns * 1e-9 * settings["server_target_qps"]
    elif scenario == "Offline":
        queries = OFFLINE_SURPLUS * duration_ns / (OFFLINE_SHARE * call_ns)
    queries = max(queries, settings.get("min_query_count") or 0)
    return int(queries * (BYTES_A_QUERY + samples * BYTES_AN_INFERENCE))


class _SystemUnderTest:
    """LoadGen's callbacks. No callback may raise: an exception in one ends the process with a segmentation fault."""

    def __init__(
        self,
        inference: Inference,
        samples: Sequence[Array],
        lg: Any,
        packer: ResponsePacker | None,
        *,
        resets_state: bool = False,
    ) -> None:
        self.error: str | None = None
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.call_ns, self.invoke_ns, self.started_ns = array("Q"), array("Q"), array("Q")
        self.postprocess_ns = None if inference.postprocessing is None else array("Q")
        self._record = self.call_ns.append, self.invoke_ns.append, self.started_ns.append
        session = inference.session
        self._steps = _reset_and_feed(session) if resets_state else session.feed, session.invoke, session.fetch
        self._postprocess = self._build_postprocess(inference)
        self._samples = samples
        self._packer = packer
        self._rows: dict[int, tuple[Array, ...]] = {}
        self._outputs: tuple[Array, ...] | None = None
        self._complete = lg.QuerySamplesComplete
        self._response = lg.QuerySampleResponse(0, 0, 0)
        self._responses = [self._response]

    def issue(self, ids: list[int], indices: list[int]) -> None:
        """Run each sample and complete it at once, with the outputs' bytes as the response."""
        rows, response, responses, complete = self._rows, self._response, self._responses, self._complete
        (feed, invoke, fetch), postprocess = self._steps, self._postprocess
        record_call, record_invoke, record_start = self._record
        clock = time.perf_counter_ns
        for query, index in zip(ids, indices, strict=True):
            try:
                started = clock()
                feed(*rows[index])
                fed = clock()
                invoke()
                invoked = clock()
                outputs = fetch()
                if postprocess is not None:
                    outputs = postprocess(outputs)
                ended = clock()
                record_call(ended - started)
                record_invoke(invoked - fed)
                record_start(started)
                # Sessions return the same buffers. Reading an address takes a microsecond, so it is read once.
                if outputs is not self._outputs:
                    self._respond(outputs)
            except Exception as error:
                self.error = self.error or f"{type(error).__name__}: {error}"
                self._outputs = None
                response.data, response.size = 0, 0
            response.id = query
            complete(responses)

    def _respond(self, outputs: tuple[Array, ...]) -> None:
        """Set the response: the only output itself, or the packed outputs, or nothing if LoadGen logs no response."""
        if self._packer is not None and (self.postprocess_ns is not None or self._packer.changes(outputs)):
            response = self._packer.pack(outputs)
        elif len(outputs) == 1 and self.postprocess_ns is None:
            response = outputs[0]
            self._outputs = outputs
        else:
            self._outputs = outputs
            self._response.data, self._response.size = 0, 0
            return
        self._response.data, self._response.size = response.ctypes.data, response.nbytes

    def _build_postprocess(self, inference: Inference) -> Callable[[tuple[Array, ...]], tuple[Array, ...]] | None:
        """Return a function that runs the task's postprocessing and records its duration, or None without one."""
        if inference.postprocessing is None or self.postprocess_ns is None:
            return None
        run, record, clock = inference.postprocessing.run, self.postprocess_ns.append, time.perf_counter_ns

        def postprocess(outputs: tuple[Array, ...]) -> tuple[Array, ...]:
            fetched = clock()
            results = run(*outputs)
            record(clock() - fetched)
            return results

        return postprocess

    def flush(self) -> None:
        """Read the counters. Every query was completed when it was issued, so none is left."""
        self.after = conditions.read_counters()

    def load_samples(self, indices: list[int]) -> None:
        """Load samples of this test into memory, one contiguous array for each input."""
        self._rows.update((i, load_row(self._samples, i)) for i in indices)
        self.before = self.before or conditions.read_counters()

    def unload_samples(self, indices: list[int]) -> None:
        """Delete all samples from memory."""
        self._rows.clear()


def _reset_and_feed(session: InferenceSession) -> Callable[..., None]:
    def reset_and_feed(*inputs: Array) -> None:
        session.reset_state()
        session.feed(*inputs)

    return reset_and_feed


def _expect(scenario: str, settings: Settings, call_ns: int) -> dict[str, int | float]:
    """Return the settings from which LoadGen decides how many queries it generates."""
    if scenario == "SingleStream":
        return {"single_stream_expected_latency_ns": _compute_expected_ns(call_ns)}
    if scenario == "MultiStream":
        samples = _get_samples_per_query(settings)
        return {"multi_stream_expected_latency_ns": _compute_expected_ns(call_ns) * samples}
    if scenario == "Offline":
        return {"offline_expected_qps": 1e9 / (OFFLINE_SHARE * call_ns)}
    return {}


def _compute_expected_ns(call_ns: int) -> int:
    return max(EXPECTED_FLOOR_NS, int(call_ns * EXPECTED_SHARE))


def _get_samples_per_query(settings: Settings) -> int:
    return int(settings.get("multi_stream_samples_per_query") or MULTI_STREAM_SAMPLES)


def _build_settings(lg: Any, mode: str, scenario: str, settings: Settings, out_dir: Path) -> Any:
    """Return LoadGen's settings: MLPerf's own (mlperf.conf), overridden through user.conf as MLPerf's rules demand."""
    test = lg.TestSettings()
    for name in settings:
        if not hasattr(test, name):
            raise ValueError(f"LoadGen has no setting '{name}'")
    path = out_dir / USER_CONF
    lines = [
        f"*.{scenario}.{CONF_KEYS[name][0]} = {value / CONF_KEYS[name][1]:.12g}\n"
        for name, value in settings.items()
        if name in CONF_KEYS
    ]
    path.write_text("".join(lines), encoding="ascii")
    code = test.FromConfig(str(path), MODEL, scenario)
    if code != 0:
        raise ValueError(f"LoadGen refused {USER_CONF} with {code}")
    test.mode = getattr(lg.TestMode, mode)
    test.scenario = getattr(lg.TestScenario, scenario)
    for name, value in settings.items():  # user.conf can hold only whole milliseconds of Server's latency limit
        setattr(test, name, value)
    return test


def _save(under_test: _SystemUnderTest, out_dir: Path) -> None:
    started = np.frombuffer(under_test.started_ns, np.uint64)
    arrays: dict[str, Any] = {
        "call_ns": np.frombuffer(under_test.call_ns, np.uint64),
        "invoke_ns": np.frombuffer(under_test.invoke_ns, np.uint64),
        "started_ns": started - (started[0] if len(started) else np.uint64(0)),
    }
    if under_test.postprocess_ns is not None:
        arrays["postprocess_ns"] = np.frombuffer(under_test.postprocess_ns, np.uint64)
    np.savez_compressed(out_dir / LATENCIES, **arrays)


def _read_detail_log(path: Path) -> dict[str, Any]:
    try:
        return loadgen_log.parse_detail_log(path.read_text(encoding="utf-8"))
    except ValueError:
        raise OSError(f"LoadGen's {path.name} is cut short; is the device's disk full?") from None
