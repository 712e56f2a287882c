"""One LoadGen run, judged by its own logs more strictly than the official checker does.

Every function yields problems: what is wrong and what is expected, without the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeproof.submission.logs import Detail, Scalar, number, settings, shown
from edgeproof.submission.rules import (
    AUDITED,
    LEAST_QUERIES,
    MIN_DURATION_MS,
    MULTI_STREAM_SAMPLES,
    OFFLINE_SAMPLES,
    ORDINARY,
    SEEDS,
    TARGET_PERCENTILES,
    Benchmark,
)

# LoadGen prints six digits, and a clock may be slewed by a thousandth.
DURATION_ERROR = 1e-3
PRINTED_ERROR = 1e-5
# The result that MLPerf publishes for each scenario, in the detail log and in the summary.
METRICS = {
    "SingleStream": ("early_stopping_latency_ss", "Early stopping 90.0th percentile estimate"),
    "MultiStream": ("early_stopping_latency_ms", "Early stopping 99.0th percentile estimate"),
    "Offline": ("result_samples_per_second", "Samples per second"),
    "Server": ("result_completed_samples_per_sec", "Completed samples per second"),
}
SUMMED_UP = {
    "SUT name": "sut_name",
    "Scenario": "effective_scenario",
    "Mode": "effective_test_mode",
    "Result is": "result_validity",
    "samples_per_query": "effective_samples_per_query",
    "min_duration (ms)": "effective_min_duration_ms",
    "min_query_count": "effective_min_query_count",
    "performance_sample_count": "effective_performance_sample_count",
    **{name: f"effective_{name}" for name in SEEDS},
}
# What a submitter may set, by MLPerf's rules; the log shows whether the values are allowed.
USER_SETTINGS: dict[str, dict[str, tuple[str, float]]] = {
    "target_latency": {
        "SingleStream": ("requested_single_stream_expected_latency_ns", 1e6),
        "MultiStream": ("requested_multi_stream_expected_latency_ns", 1e6),
        # Read in whole milliseconds, so the log may hold another value than LoadGen makes of this.
        "Server": ("", 1),
    },
    "target_qps": {
        "Offline": ("requested_offline_expected_qps", 1),
        "Server": ("requested_server_target_qps", 1),
    },
    "min_duration": {"": ("requested_min_duration_ms", 1)},
    "min_query_count": {"": ("requested_min_query_count", 1)},
    "samples_per_query": {"MultiStream": ("requested_multi_stream_samples_per_query", 1)},
    "performance_sample_count_override": {"": ("requested_performance_sample_count_override", 1)},
}
# What mlperf.conf leaves to the submitter.
EXPECTATIONS = {
    "SingleStream": "target_latency",
    "MultiStream": "target_latency",
    "Offline": "target_qps",
    "Server": "target_qps",
}


def performance(log: Detail, scenario: str, benchmark: Benchmark, audit: str | None = None) -> Iterator[str]:
    """A performance run of the scenario; `audit` names the compliance test under which it ran."""
    yield from log.problems
    yield from _equal(log, "result_validity", "VALID")
    yield from _equal(log, "effective_scenario", scenario)
    yield from _equal(log, "effective_test_mode", "PerformanceOnly")
    for key in ("result_min_duration_met", "result_min_queries_met", "early_stopping_met"):
        yield from _equal(log, key, True)
    yield from _equal(log, "num_errors", 0)
    yield from _seeds(log)
    for key, value in (AUDITED[audit] if audit else ORDINARY).items():
        yield from _equal(log, key, value)
    yield from _equal(log, "effective_sample_concatenate_permutation", False)
    yield from _at_least(log, "effective_min_duration_ms", MIN_DURATION_MS)
    yield from _unlimited(log)
    yield from _lasted(log, scenario)
    yield from _enough(log, scenario, benchmark)
    if scenario in TARGET_PERCENTILES:
        yield from _equal(log, "effective_target_latency_percentile", TARGET_PERCENTILES[scenario])
    if scenario == "Server":
        yield from _equal(log, "result_perf_constraints_met", True)
        yield from _at_most(log, "effective_target_latency_ns", benchmark.server_latency_ns)
    yield from _positive(log, METRICS[scenario][0])


def accuracy(log: Detail) -> Iterator[str]:
    """An accuracy run, in whichever scenario."""
    yield from log.problems
    yield from _equal(log, "effective_test_mode", "AccuracyOnly")
    yield from _seeds(log)
    yield from _equal(log, "requested_accuracy_sample_count_override", 0)
    yield from _equal(log, "effective_sample_concatenate_permutation", False)
    yield from _positive(log, "effective_accuracy_sample_count")
    yield from same(log, "effective_accuracy_sample_count", log, "qsl_reported_total_count")


def summary_of(summary: Mapping[str, str], log: Detail, scenario: str) -> Iterator[str]:
    """A performance run's summary, which must say what the detail log says."""
    for name, key in SUMMED_UP.items():
        if summary.get(name) != str(log.values.get(key)):
            told = shown(log.values.get(key))
            yield f"'{name}' is {shown(summary.get(name))}; expected {told} as {key} in the detail log"
    key, name = METRICS[scenario]
    if not _alike(_float(summary.get(name)), log.number(key)):
        told = shown(log.values.get(key))
        yield f"'{name}' is {shown(summary.get(name))}; expected {told} as {key} in the detail log"


def errors_of(summary_text: str) -> Iterator[str]:
    """The end of every summary, which an interrupted run lacks."""
    if "No errors encountered during test." not in summary_text.split("\n"):
        yield "does not say 'No errors encountered during test.'; expected that at its end"


def user_settings(text: str, log: Detail, scenario: str) -> Iterator[str]:
    """A user.conf, which must hold only what a submitter may set, and be the one that LoadGen was given."""
    found = set()
    for line_number, model, of, key, value in settings(text):
        where = f"line {line_number} ({shown(f'{model}.{of}.{key}')})"
        if value is None:
            yield f"{where} cannot be read; expected 'model.scenario.key = number'"
        elif key not in USER_SETTINGS:
            yield f"{where} sets what a submitter may not; expected only {', '.join(USER_SETTINGS)}"
        elif of in (scenario, "*"):
            found.add(key)
            logged, factor = USER_SETTINGS[key].get(scenario) or USER_SETTINGS[key].get("", ("", 1.0))
            if logged and not _alike(number(value * factor), log.number(logged)):
                told = shown(log.values.get(logged))
                yield f"{where} is {value:g}; expected what LoadGen was given: {logged} is {told} in the detail log"
    if EXPECTATIONS[scenario] not in found:
        yield f"does not set {EXPECTATIONS[scenario]} of {scenario}; expected what LoadGen was told to expect"


def same(log: Detail, key: str, other: Detail, other_key: str | None = None) -> Iterator[str]:
    """Two logs (or two keys) that must agree."""
    if log.values.get(key) != other.values.get(other_key or key) or key not in log.values:
        told = shown(other.values.get(other_key or key))
        yield f"{key} is {_told(log, key)}; expected {told} as {other_key or 'in the performance run'}"


def duration_ms(log: Detail, scenario: str) -> dict[str, float]:
    """How long a run took, by every account of its log that can be read: the log's own times, and the results."""
    found = {}
    # Server says nothing when it ends, the others say why they do.
    ending = "result_validity" if scenario == "Server" else "generic_message"
    begin, end = log.times_ms.get("generated_query_duration"), log.times_ms.get(ending)
    if begin is not None and end is not None:
        found["from its lines' time_ms"] = end - begin
    queries = log.number("result_query_count")
    of = {
        "SingleStream": (queries, "result_qps_with_loadgen_overhead"),
        "Server": (queries, "result_scheduled_samples_per_sec"),
        "Offline": (log.number("effective_samples_per_query"), "result_samples_per_second"),
    }
    if scenario in of:
        count, key = of[scenario]
        rate = log.number(key)
        if count is not None and rate is not None and rate > 0:
            found[f"by {key}"] = 1e3 * count / rate
    return found


def _lasted(log: Detail, scenario: str) -> Iterator[str]:
    durations = duration_ms(log, scenario)
    for account, lasted_ms in durations.items():
        if lasted_ms < MIN_DURATION_MS * (1 - DURATION_ERROR):
            yield f"the run lasted {lasted_ms / 1e3:.3f} s {account}; expected at least {MIN_DURATION_MS / 1e3:g} s"
    if len(durations) < (1 if scenario == "MultiStream" else 2):
        yield "the log does not tell how long the run lasted; expected its queries, its rate and its lines' time_ms"


def _enough(log: Detail, scenario: str, benchmark: Benchmark) -> Iterator[str]:
    """Queries, samples a query, and samples in memory."""
    yield from _at_least(log, "result_query_count", LEAST_QUERIES[scenario])
    needed, issued = log.number("effective_min_query_count"), log.number("result_query_count")
    if needed is None or (issued is not None and issued < needed):
        yield f"result_query_count is {_told(log, 'result_query_count')}; expected at least effective_min_query_count"
    if scenario == "MultiStream":
        yield from _equal(log, "effective_samples_per_query", MULTI_STREAM_SAMPLES)
    elif scenario == "Offline":
        total = log.number("qsl_reported_total_count")
        samples = OFFLINE_SAMPLES if total is None else min(OFFLINE_SAMPLES, total)
        yield from _at_least(log, "effective_samples_per_query", samples)
    else:
        yield from _equal(log, "effective_samples_per_query", 1)
    yield from _at_least(log, "effective_performance_sample_count", benchmark.performance_samples)


def _unlimited(log: Detail) -> Iterator[str]:
    for key in ("effective_max_duration_ms", "effective_max_query_count"):
        yield from _equal(log, key, 0)


def _seeds(log: Detail) -> Iterator[str]:
    for name, seed in SEEDS.items():
        yield from _equal(log, f"effective_{name}", seed)


def _equal(log: Detail, key: str, expected: Scalar) -> Iterator[str]:
    value = log.values.get(key)
    if key not in log.values or value != expected or isinstance(value, bool) is not isinstance(expected, bool):
        yield f"{key} is {_told(log, key)}; expected {shown(expected)}"


def _at_least(log: Detail, key: str, least: float) -> Iterator[str]:
    value = log.number(key)
    if value is None or value < least:
        yield f"{key} is {_told(log, key)}; expected at least {least}"


def _at_most(log: Detail, key: str, most: float) -> Iterator[str]:
    value = log.number(key)
    if value is None or value > most:
        yield f"{key} is {_told(log, key)}; expected at most {most}"


def _positive(log: Detail, key: str) -> Iterator[str]:
    value = log.number(key)
    if value is None or value <= 0:
        yield f"{key} is {_told(log, key)}; expected a number above 0"


def _told(log: Detail, key: str) -> str:
    return shown(log.values[key]) if key in log.values else "missing"


def _alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= PRINTED_ERROR * max(abs(one), abs(other))


def _float(text: str | None) -> float | None:
    try:
        return number(float(text or ""))
    except ValueError:
        return None
