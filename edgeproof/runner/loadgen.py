"""The only code that knows MLPerf LoadGen: one test, completed inline, raw latencies kept.

FastSUT with inline completion has the least overhead of LoadGen's Python interfaces; a second Python thread in
this process would cost milliseconds, so there is none.
"""

from __future__ import annotations

import gc
import json
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LATENCIES = "latencies.npz"
PERFORMANCE_SAMPLES = 1024


@dataclass(frozen=True)
class Outcome:
    """LoadGen's detail log as key → value, and the first exception of a callback."""

    log: dict[str, Any]
    error: str | None


def run(
    session: Any,
    inputs: Array,
    *,
    mode: str,
    scenario: str,
    settings: dict[str, Any],
    expected_call_ns: int,
    out_dir: Path,
) -> Outcome:
    """Run one test over `inputs` (N, *input_shape) and leave LoadGen's logs and latencies.npz in `out_dir`.

    latencies.npz holds call_ns: each inference's duration in ns, in the order of execution.
    """
    import mlperf_loadgen as lg

    under_test = _SystemUnderTest(session, inputs, lg)
    sut = lg.ConstructFastSUT(under_test.issue, under_test.flush)
    qsl = lg.ConstructQSL(
        len(inputs), min(len(inputs), PERFORMANCE_SAMPLES), under_test.load_samples, under_test.unload_samples
    )
    log = lg.LogSettings()
    log.enable_trace = False
    log.log_output.outdir = str(out_dir)
    log.log_output.copy_summary_to_stdout = False
    gc.collect()
    gc.freeze()
    gc.disable()
    # A configuration that happens to lie in the working directory must not turn this run into an audit.
    no_audit = str(out_dir / "no-audit.config")
    lg.StartTestWithLogSettings(sut, qsl, _settings(lg, mode, scenario, settings, expected_call_ns), log, no_audit)
    gc.enable()
    np.savez_compressed(out_dir / LATENCIES, call_ns=np.frombuffer(under_test.call_ns, np.uint64))
    return Outcome(_detail_log(out_dir / "mlperf_log_detail.txt"), under_test.error)


class _SystemUnderTest:
    """LoadGen's callbacks. None may raise: an exception inside one ends the process with a segmentation fault."""

    def __init__(self, session: Any, inputs: Array, lg: Any) -> None:
        self.error: str | None = None
        self.call_ns = array("Q")
        self._session = session
        self._inputs = inputs
        self._rows: dict[int, Array] = {}
        self._output: Array | None = None
        self._complete = lg.QuerySamplesComplete
        self._response = lg.QuerySampleResponse(0, 0, 0)
        self._responses = [self._response]

    def issue(self, ids: list[int], indices: list[int]) -> None:
        """Run each sample and complete it at once, with the output's bytes as the response."""
        session, rows, response, responses = self._session, self._rows, self._response, self._responses
        clock, record, complete = time.perf_counter_ns, self.call_ns.append, self._complete
        for query, index in zip(ids, indices, strict=True):
            try:
                started = clock()
                output = session(rows[index])
                record(clock() - started)
                if output is not self._output:  # sessions return one buffer; asking for its address takes a microsecond
                    self._output = output
                    response.data, response.size = output.ctypes.data, output.nbytes
            except Exception as error:
                self.error = self.error or f"{type(error).__name__}: {error}"
                self._output = None
                response.data, response.size = 0, 0
            response.id = query
            complete(responses)

    def flush(self) -> None:
        """Nothing waits: every query was completed when it was issued."""

    def load_samples(self, indices: list[int]) -> None:
        """Bring the samples of this test into memory, one contiguous array each."""
        self._rows.update((i, np.ascontiguousarray(self._inputs[i : i + 1])) for i in indices)

    def unload_samples(self, indices: list[int]) -> None:
        """Forget the samples."""
        self._rows.clear()


def _settings(lg: Any, mode: str, scenario: str, settings: dict[str, Any], expected_call_ns: int) -> Any:
    test = lg.TestSettings()
    test.mode = getattr(lg.TestMode, mode)
    test.scenario = getattr(lg.TestScenario, scenario)
    for name, value in settings.items():
        if not hasattr(test, name):
            raise ValueError(f"LoadGen has no setting '{name}'")
        setattr(test, name, value)
    if scenario == "SingleStream":
        test.single_stream_expected_latency_ns = expected_call_ns
    elif scenario == "MultiStream":
        test.multi_stream_expected_latency_ns = expected_call_ns * test.multi_stream_samples_per_query
    elif scenario == "Offline":
        test.offline_expected_qps = 1e9 / expected_call_ns
    return test


def _detail_log(path: Path) -> dict[str, Any]:
    """The ':::MLLOG {json}' lines as key → value; the last one wins."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(":::MLLOG "):
            entry = json.loads(line.removeprefix(":::MLLOG "))
            found[entry["key"]] = entry["value"]
    return found
