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

from edgeproof.runner import conditions

Array = np.ndarray[Any, Any]

LATENCIES = "latencies.npz"
USER_CONF = "user.conf"
PERFORMANCE_SAMPLES = 1024
# mlperf.conf, which LoadGen carries inside, has settings for every model and special ones for MLPerf's own.
MODEL = "edgeproof"
MLPERF_DURATION_MS = 600_000
# What LoadGen keeps for each query it generates ahead, and what we keep for each inference, measured.
BYTES_A_QUERY = 391
BYTES_AN_INFERENCE = 24
GENERATED_AHEAD = 2
MULTI_STREAM_SAMPLES = 8
# LoadGen generates its queries ahead from the expected latency: below the real one, or it runs out of them; not far
# below, or they fill the memory. The floor is what a call through LoadGen costs at least.
EXPECTED_SHARE = 0.6
EXPECTED_FLOOR_NS = 1_000
# Offline is one query of as many samples: enough to last when the machine becomes a third faster than it warmed up.
OFFLINE_SHARE = 0.75
OFFLINE_SURPLUS = 1.1
# user.conf's own names for our settings, which are those of LoadGen's TestSettings, and their unit in ours.
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
class Outcome:
    """LoadGen's detail log as key → value, the first exception of a callback, and counters around the queries."""

    log: dict[str, Any]
    error: str | None
    before: dict[str, Any]
    after: dict[str, Any]


def run(
    session: Any,
    inputs: Array,
    *,
    mode: str,
    scenario: str,
    settings: dict[str, Any],
    call_ns: int,
    out_dir: Path,
    audit: str | None = None,
) -> Outcome:
    """Run one test over `inputs` (N, *input_shape) and leave LoadGen's logs, user.conf and latencies.npz in `out_dir`.

    `call_ns` is what an inference was measured to take, from which LoadGen is told what to expect.

    latencies.npz holds, an entry an inference in the order of execution: call_ns, its duration from the input handed
    over to the output at hand; invoke_ns, the engine's share of it; started_ns, when it began (0 is the first).
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
    test = _settings(lg, mode, scenario, {**settings, **_expected(scenario, settings, call_ns)}, out_dir)
    # Without a name of our own, a configuration that happens to lie in the working directory would be taken.
    audit_config = out_dir / ("audit.config" if audit else "no-audit.config")
    if audit:
        audit_config.write_text(audit, encoding="ascii")
    gc.collect()
    gc.freeze()
    gc.disable()
    lg.StartTestWithLogSettings(sut, qsl, test, log, str(audit_config))
    gc.enable()
    _save(under_test, out_dir)
    log_told = _detail_log(out_dir / "mlperf_log_detail.txt")
    return Outcome(log_told, under_test.error, under_test.before, under_test.after)


def needed_bytes(scenario: str, settings: dict[str, Any], call_ns: int) -> int:
    """Memory for a performance run's queries, which LoadGen generates ahead, and for our raw durations: an estimate."""
    duration_ns = (settings.get("min_duration_ms") or MLPERF_DURATION_MS) * 1e6
    samples = _samples_per_query(settings) if scenario == "MultiStream" else 1
    queries = GENERATED_AHEAD * duration_ns / (_below(call_ns) * samples)
    if scenario == "Server":
        queries = GENERATED_AHEAD * duration_ns * 1e-9 * settings["server_target_qps"]
    elif scenario == "Offline":
        queries = OFFLINE_SURPLUS * duration_ns / (OFFLINE_SHARE * call_ns)
    queries = max(queries, settings.get("min_query_count") or 0)
    return int(queries * (BYTES_A_QUERY + samples * BYTES_AN_INFERENCE))


class _SystemUnderTest:
    """LoadGen's callbacks. None may raise: an exception inside one ends the process with a segmentation fault."""

    def __init__(self, session: Any, inputs: Array, lg: Any) -> None:
        self.error: str | None = None
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.call_ns, self.invoke_ns, self.started_ns = array("Q"), array("Q"), array("Q")
        self._record = self.call_ns.append, self.invoke_ns.append, self.started_ns.append
        self._steps = session.feed, session.invoke, session.fetch
        self._inputs = inputs
        self._rows: dict[int, Array] = {}
        self._output: Array | None = None
        self._complete = lg.QuerySamplesComplete
        self._response = lg.QuerySampleResponse(0, 0, 0)
        self._responses = [self._response]

    def issue(self, ids: list[int], indices: list[int]) -> None:
        """Run each sample and complete it at once, with the output's bytes as the response."""
        rows, response, responses, complete = self._rows, self._response, self._responses, self._complete
        feed, invoke, fetch = self._steps
        record_call, record_invoke, record_start = self._record
        clock = time.perf_counter_ns
        for query, index in zip(ids, indices, strict=True):
            try:
                started = clock()
                feed(rows[index])
                fed = clock()
                invoke()
                invoked = clock()
                output = fetch()
                ended = clock()
                record_call(ended - started)
                record_invoke(invoked - fed)
                record_start(started)
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
        """All queries were issued, and each was completed when it was."""
        self.after = conditions.counters()

    def load_samples(self, indices: list[int]) -> None:
        """Bring the samples of this test into memory, one contiguous array each."""
        self._rows.update((i, np.ascontiguousarray(self._inputs[i : i + 1])) for i in indices)
        self.before = self.before or conditions.counters()

    def unload_samples(self, indices: list[int]) -> None:
        """Forget the samples."""
        self._rows.clear()


def _expected(scenario: str, settings: dict[str, Any], call_ns: int) -> dict[str, Any]:
    """What LoadGen is told to expect, from which it decides how many queries to generate."""
    if scenario == "SingleStream":
        return {"single_stream_expected_latency_ns": _below(call_ns)}
    if scenario == "MultiStream":
        return {"multi_stream_expected_latency_ns": _below(call_ns) * _samples_per_query(settings)}
    if scenario == "Offline":
        return {"offline_expected_qps": 1e9 / (OFFLINE_SHARE * call_ns)}
    return {}


def _below(call_ns: int) -> int:
    return max(EXPECTED_FLOOR_NS, int(call_ns * EXPECTED_SHARE))


def _samples_per_query(settings: dict[str, Any]) -> int:
    return settings.get("multi_stream_samples_per_query") or MULTI_STREAM_SAMPLES


def _settings(lg: Any, mode: str, scenario: str, settings: dict[str, Any], out_dir: Path) -> Any:
    """MLPerf's own settings and seeds (mlperf.conf), ours over them by way of user.conf, as MLPerf's rules have it."""
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
    for name, value in settings.items():  # user.conf rounds Server's latency limit down to whole milliseconds
        setattr(test, name, value)
    return test


def _save(under_test: _SystemUnderTest, out_dir: Path) -> None:
    started = np.frombuffer(under_test.started_ns, np.uint64)
    np.savez_compressed(
        out_dir / LATENCIES,
        call_ns=np.frombuffer(under_test.call_ns, np.uint64),
        invoke_ns=np.frombuffer(under_test.invoke_ns, np.uint64),
        started_ns=started - (started[0] if len(started) else np.uint64(0)),
    )


def _detail_log(path: Path) -> dict[str, Any]:
    """The ':::MLLOG {json}' lines as key → value; the last one wins."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(":::MLLOG "):
            try:
                entry = json.loads(line.removeprefix(":::MLLOG "))
            except ValueError:
                raise OSError(f"LoadGen's {path.name} is cut short; is the device's disk full?") from None
            found[entry["key"]] = entry["value"]
    return found
