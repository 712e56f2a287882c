"""Check one LoadGen run by its own logs, more strictly than the official checker.

Every check function yields problems of the form 'X is Y; expected Z', without the name of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeproof.submission.logs import DetailLog, Scalar, as_number, parse_user_conf, quote
from edgeproof.submission.rules import (
    AUDITED_SETTINGS,
    METRICS,
    MIN_OFFLINE_SAMPLES,
    MIN_QUERIES,
    MULTI_STREAM_SAMPLES,
    SEEDS,
    TARGET_PERCENTILES,
    UNAUDITED_SETTINGS,
    BenchmarkRules,
)

# Relative tolerances: the clock may be adjusted by up to 0.1% during a run, and LoadGen prints six digits.
DURATION_TOLERANCE = 1e-3
PRINTING_TOLERANCE = 1e-5
# Names in the summary, each with the key of the same value in the detail log.
SUMMARY_KEYS = {
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
# Settings that MLPerf's rules allow in user.conf. By scenario ('' for any): the key in the detail log that shows the
# value, and the factor to the log's unit.
USER_SETTINGS: dict[str, dict[str, tuple[str, float]]] = {
    "target_latency": {
        "SingleStream": ("requested_single_stream_expected_latency_ns", 1e6),
        "MultiStream": ("requested_multi_stream_expected_latency_ns", 1e6),
        # LoadGen rounds this one to milliseconds, so the log may differ from user.conf.
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
# The setting that each scenario needs in user.conf, since mlperf.conf does not contain it.
REQUIRED_USER_SETTINGS = {
    "SingleStream": "target_latency",
    "MultiStream": "target_latency",
    "Offline": "target_qps",
    "Server": "target_qps",
}


def check_performance(
    log: DetailLog,
    scenario: str,
    benchmark: BenchmarkRules,
    test: str | None = None,
    *,
    min_duration_ms: int,
) -> Iterator[str]:
    """Check a performance run of a scenario; `test` is the compliance test under which it ran, or None.

    It must last for `min_duration_ms`.
    """
    yield from log.problems
    yield from _check_equal(log, "result_validity", "VALID")
    yield from _check_equal(log, "effective_scenario", scenario)
    yield from _check_equal(log, "effective_test_mode", "PerformanceOnly")
    for key in ("result_min_duration_met", "result_min_queries_met", "early_stopping_met"):
        yield from _check_equal(log, key, True)
    yield from _check_equal(log, "num_errors", 0)
    yield from _check_seeds(log)
    for key, value in (AUDITED_SETTINGS[test] if test else UNAUDITED_SETTINGS).items():
        yield from _check_equal(log, key, value)
    yield from _check_equal(log, "effective_sample_concatenate_permutation", False)
    yield from _check_at_least(log, "effective_min_duration_ms", min_duration_ms)
    for key in ("effective_max_duration_ms", "effective_max_query_count"):
        yield from _check_equal(log, key, 0)
    yield from _check_duration(log, scenario, min_duration_ms)
    yield from _check_counts(log, scenario, benchmark)
    if scenario in TARGET_PERCENTILES:
        yield from _check_equal(log, "effective_target_latency_percentile", TARGET_PERCENTILES[scenario])
    if scenario == "Server":
        yield from _check_equal(log, "result_perf_constraints_met", True)
        yield from _check_at_most(log, "effective_target_latency_ns", benchmark.server_latency_ns)
    yield from _check_positive(log, METRICS[scenario][0])


def check_accuracy(log: DetailLog) -> Iterator[str]:
    """Check an accuracy run of any scenario."""
    yield from log.problems
    yield from _check_equal(log, "effective_test_mode", "AccuracyOnly")
    yield from _check_seeds(log)
    yield from _check_equal(log, "requested_accuracy_sample_count_override", 0)
    yield from _check_equal(log, "effective_sample_concatenate_permutation", False)
    yield from _check_positive(log, "effective_accuracy_sample_count")
    yield from check_same(log, "effective_accuracy_sample_count", log, "qsl_reported_total_count")


def check_summary(summary: Mapping[str, str], log: DetailLog, scenario: str) -> Iterator[str]:
    """Check that a performance run's summary agrees with its detail log."""
    for name, key in SUMMARY_KEYS.items():
        if summary.get(name) != str(log.values.get(key)):
            yield _describe_disagreement(summary, name, log, key)
    key, name = METRICS[scenario]
    if not _is_close(_parse_number(summary.get(name)), log.get_number(key)):
        yield _describe_disagreement(summary, name, log, key)


def check_no_errors(summary_text: str) -> Iterator[str]:
    """Check that a summary contains LoadGen's line about no errors. The summary of an interrupted run lacks it."""
    if "No errors encountered during test." not in summary_text.split("\n"):
        yield "lacks the line 'No errors encountered during test.'; expected it at the end"


def check_user_conf(text: str, log: DetailLog, scenario: str) -> Iterator[str]:
    """Check that user.conf contains only allowed settings, and that LoadGen used them."""
    keys = set()
    for setting in parse_user_conf(text):
        full_key = f"{setting.model}.{setting.scenario}.{setting.key}"
        where = f"line {setting.line} ({quote(full_key)})"
        if setting.value is None:
            yield f"{where} cannot be read; expected 'model.scenario.key = number'"
        elif setting.key not in USER_SETTINGS:
            yield f"{where} may not be set by a submitter; expected only {', '.join(USER_SETTINGS)}"
        elif setting.scenario in (scenario, "*"):
            keys.add(setting.key)
            by_scenario = USER_SETTINGS[setting.key]
            key, factor = by_scenario.get(scenario) or by_scenario.get("", ("", 1.0))
            if key and not _is_close(as_number(setting.value * factor), log.get_number(key)):
                logged = quote(log.values.get(key))
                yield f"{where} is {setting.value:g}; expected the value that LoadGen used, {key} = {logged}"
    if REQUIRED_USER_SETTINGS[scenario] not in keys:
        yield f"does not set {REQUIRED_USER_SETTINGS[scenario]} of {scenario}; expected the value that LoadGen used"


def check_same(log: DetailLog, key: str, other: DetailLog, other_key: str | None = None) -> Iterator[str]:
    """Check that a key has the same value in two logs, or two keys in one log."""
    if log.values.get(key) != other.values.get(other_key or key) or key not in log.values:
        expected = quote(other.values.get(other_key or key))
        yield f"{key} is {_quote_value(log, key)}; expected {expected} as {other_key or 'in the performance run'}"


def compute_durations_ms(log: DetailLog, scenario: str) -> dict[str, float]:
    """Return the run's duration by each source in the log: the timestamps of its lines, and its results."""
    durations = {}
    # At its end, the Server scenario logs no message; the other scenarios log why they ended.
    end_key = "result_validity" if scenario == "Server" else "generic_message"
    begin, end = log.times_ms.get("generated_query_duration"), log.times_ms.get(end_key)
    if begin is not None and end is not None:
        durations["by its lines' time_ms"] = end - begin
    queries = log.get_number("result_query_count")
    counts = {
        "SingleStream": (queries, "result_qps_with_loadgen_overhead"),
        "Server": (queries, "result_scheduled_samples_per_sec"),
        "Offline": (log.get_number("effective_samples_per_query"), "result_samples_per_second"),
    }
    if scenario in counts:
        count, key = counts[scenario]
        rate = log.get_number(key)
        if count is not None and rate is not None and rate > 0:
            durations[f"by {key}"] = 1e3 * count / rate
    return durations


def _check_duration(log: DetailLog, scenario: str, min_duration_ms: int) -> Iterator[str]:
    durations = compute_durations_ms(log, scenario)
    for source, duration_ms in durations.items():
        if duration_ms < min_duration_ms * (1 - DURATION_TOLERANCE):
            yield f"the run lasted {duration_ms / 1e3:.3f} s {source}; expected at least {min_duration_ms / 1e3:g} s"
    if len(durations) < (1 if scenario == "MultiStream" else 2):
        yield "the log does not show how long the run lasted; expected its queries, its rate and its lines' time_ms"


def _check_counts(log: DetailLog, scenario: str, benchmark: BenchmarkRules) -> Iterator[str]:
    """Check the numbers of queries, of samples in a query, and of samples in memory."""
    yield from _check_at_least(log, "result_query_count", MIN_QUERIES[scenario])
    needed, issued = log.get_number("effective_min_query_count"), log.get_number("result_query_count")
    if needed is None or (issued is not None and issued < needed):
        count = _quote_value(log, "result_query_count")
        yield f"result_query_count is {count}; expected at least effective_min_query_count"
    if scenario == "MultiStream":
        yield from _check_equal(log, "effective_samples_per_query", MULTI_STREAM_SAMPLES)
    elif scenario == "Offline":
        total = log.get_number("qsl_reported_total_count")
        samples = MIN_OFFLINE_SAMPLES if total is None else min(MIN_OFFLINE_SAMPLES, total)
        yield from _check_at_least(log, "effective_samples_per_query", samples)
    else:
        yield from _check_equal(log, "effective_samples_per_query", 1)
    yield from _check_at_least(log, "effective_performance_sample_count", benchmark.performance_samples)


def _check_seeds(log: DetailLog) -> Iterator[str]:
    for name, seed in SEEDS.items():
        yield from _check_equal(log, f"effective_{name}", seed)


def _check_equal(log: DetailLog, key: str, expected: Scalar) -> Iterator[str]:
    value = log.values.get(key)
    if key not in log.values or value != expected or isinstance(value, bool) is not isinstance(expected, bool):
        yield f"{key} is {_quote_value(log, key)}; expected {quote(expected)}"


def _check_at_least(log: DetailLog, key: str, minimum: float) -> Iterator[str]:
    value = log.get_number(key)
    if value is None or value < minimum:
        yield f"{key} is {_quote_value(log, key)}; expected at least {minimum}"


def _check_at_most(log: DetailLog, key: str, maximum: float) -> Iterator[str]:
    value = log.get_number(key)
    if value is None or value > maximum:
        yield f"{key} is {_quote_value(log, key)}; expected at most {maximum}"


def _check_positive(log: DetailLog, key: str) -> Iterator[str]:
    value = log.get_number(key)
    if value is None or value <= 0:
        yield f"{key} is {_quote_value(log, key)}; expected a number above 0"


def _describe_disagreement(summary: Mapping[str, str], name: str, log: DetailLog, key: str) -> str:
    expected = quote(log.values.get(key))
    return f"'{name}' is {quote(summary.get(name))}; expected {expected} as {key} in the detail log"


def _quote_value(log: DetailLog, key: str) -> str:
    return quote(log.values[key]) if key in log.values else "missing"


def _is_close(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= PRINTING_TOLERANCE * max(abs(one), abs(other))


def _parse_number(text: str | None) -> float | None:
    try:
        return as_number(float(text or ""))
    except ValueError:
        return None
