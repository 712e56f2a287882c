"""Verdicts: from a runner's result to valid, invalid or error, with every reason."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from edgeproof.bench import verdict
from edgeproof.bench.conditions import compute_drift
from edgeproof.core import plugins
from edgeproof.core.job import RunnerJob
from tests.support.run_counters import BEFORE, QUIET, SECOND

PERFORMANCE = RunnerJob(
    runtime="null", artifact="a", samples="s", threads=1, mode="PerformanceOnly", scenario="SingleStream", settings={},
    warm_up_s=1.0, packages={},
)  # fmt: skip
ACCURACY = replace(PERFORMANCE, mode="AccuracyOnly")
RAN = {"effective_test_mode": "PerformanceOnly", "effective_scenario": "SingleStream"}
VALID = {**RAN, "result_validity": "VALID", "result_50.00_percentile_latency_ns": 100_000}
STEADY = {"steady": True, "spread": 0.01, "duration_ns": SECOND}
# The limits on the state of the machine, one for each figure.
NOISE_LIMITS = [field.name for field in fields(verdict.VerdictLimits) if isinstance(field.default, float)]
CALLS = np.full(1000, 100_000, np.uint64)


def make_result(log: dict[str, Any] = VALID, *, warm_up: dict[str, Any] = STEADY, **after: Any) -> dict[str, Any]:
    return {
        "status": "done",
        "loadgen": log,
        "warm_up": warm_up,
        "counters": {"before": BEFORE, "after": {**QUIET, **after}},
        "fallbacks": [],
    }


def judge(given: dict[str, Any], calls: np.ndarray | None = CALLS) -> verdict.RunVerdict:
    return verdict.judge_run(PERFORMANCE, given, calls)


def list_reasons(given: dict[str, Any], calls: np.ndarray | None = CALLS) -> list[str]:
    judged = judge(given, calls)
    assert (judged.verdict == "valid") == (not judged.reasons)
    return judged.reasons


# --- the CPU quota of a container ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quota_cpus", "threads", "is_named"),
    [(0.5, 1, True), (1.0, 1, True), (2.0, 4, True), (4.0, 1, False), (None, 1, False)],
)
def test_a_disturbed_run_names_the_quota_that_is_too_small_for_its_threads(
    quota_cpus: float | None, threads: int, is_named: bool
) -> None:
    given = {**make_result(run_delay_ns=SECOND // 20), "fingerprint": {"quota_cpus": quota_cpus}, "threads": threads}
    reasons = list_reasons(given)
    assert "waited for a processor" in reasons[0]
    assert [f"limits the runner to {quota_cpus:g} processors" in reason for reason in reasons[1:]] == [True] * is_named


def test_a_quiet_run_with_a_quota_is_valid() -> None:
    assert list_reasons({**make_result(), "fingerprint": {"quota_cpus": 0.5}}) == []


# --- LoadGen's own verdict -------------------------------------------------------------------------------------------


def test_a_quiet_run_that_loadgen_calls_valid_is_valid() -> None:
    assert list_reasons(make_result()) == []


def test_a_run_that_loadgen_calls_invalid_has_loadgens_reason_in_one_line() -> None:
    log = {**VALID, "result_validity": "INVALID", "result_invalid_reason": "Min duration\n  not met. "}
    assert list_reasons(make_result(log)) == ["LoadGen: Min duration not met."]


def test_an_empty_reason_of_loadgen_is_replaced_by_the_result_of_early_stopping() -> None:
    # LoadGen's log of a Server run with too few queries.
    log = {
        **VALID,
        "result_validity": "INVALID",
        "result_invalid_reason": "",
        "early_stopping_result": " * Run unsuccessful.\n * Would need to run at least 159 more queries.",
    }
    (reason,) = list_reasons(make_result(log))
    assert "at least 159 more queries" in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "validity", [{"result_validity": "INVALID"}, {"result_validity": ""}, {"result_validity": None}]
)
def test_a_run_without_a_validity_or_a_reason_is_invalid(validity: dict[str, Any]) -> None:
    assert len(list_reasons(make_result({**VALID, **validity}))) == 1


@pytest.mark.parametrize("figure", [None, "fast", 0, -1])
def test_a_run_without_the_published_figure_in_its_log_is_invalid(figure: Any) -> None:
    (reason,) = list_reasons(make_result({**VALID, "result_50.00_percentile_latency_ns": figure}))
    assert "result_50.00_percentile_latency_ns" in reason


@pytest.mark.parametrize(
    "other", [{"effective_test_mode": "AccuracyOnly"}, {"effective_scenario": "Offline"}, {"effective_test_mode": None}]
)
def test_a_log_of_another_run_than_the_jobs_is_an_error(other: dict[str, Any]) -> None:
    judged = judge(make_result({**VALID, **other}))
    assert judged.verdict == "error"
    assert "the job was PerformanceOnly in SingleStream" in judged.reasons[0]


def test_a_performance_run_without_raw_durations_is_invalid() -> None:
    (reason,) = list_reasons(make_result(), None)
    assert "0 inferences" in reason


def test_an_accuracy_run_is_valid_without_any_times() -> None:
    log = {**RAN, "effective_test_mode": "AccuracyOnly"}
    given = {"status": "done", "loadgen": log, "fallbacks": []}
    assert verdict.judge_run(ACCURACY, given, None) == verdict.RunVerdict("valid")


@pytest.mark.parametrize("log", [{}, VALID, {"effective_test_mode": "AccuracyOnly"}])
def test_a_failed_run_is_an_error_whatever_loadgen_reports(log: dict[str, Any]) -> None:
    judged = judge({"status": "error", "error": "ValueError: broken", "loadgen": log}, CALLS)
    assert (judged.verdict, judged.reasons) == ("error", ["ValueError: broken"])


def test_a_run_that_the_device_does_not_support_is_unsupported() -> None:
    refused = {"status": "unsupported", "error": "it has no GPU"}
    for judged in (judge(refused, None), verdict.judge_interleaved(refused)):
        assert (judged.verdict, judged.reasons) == ("unsupported", ["it has no GPU"])


@pytest.mark.parametrize("error", [{}, {"error": None}, {"error": ""}])
def test_an_error_without_a_message_still_has_a_reason(error: dict[str, Any]) -> None:
    judged = judge({"status": "error", **error}, None)
    assert judged.verdict == "error"
    assert judged.reasons[0]


# --- disturbances by the machine -------------------------------------------------------------------------------------


def test_a_falling_temperature_is_not_a_disturbance() -> None:
    assert list_reasons(make_result(temperature_millic=20_000)) == []


@pytest.mark.parametrize(
    ("after", "figure", "value", "message"),
    [
        ({"run_delay_ns": SECOND // 20}, "waiting_share", 0.05, "waited for a processor in 5.0% of the run"),
        ({"cpu_pressure_us": 500_000}, "pressure_share", 0.5, "waited for a processor in 50.0% of the run"),
        ({"busy_ticks": 202}, "others_cpus", 1.0, "others used 1.00 processors"),
        ({"steal_ticks": 12}, "steal_cpus", 0.1, "hypervisor took 0.100 processors"),
        ({"involuntary_switches": 250}, "switches_per_s", 250, "lost its processor 250 times a second"),
        ({"frequency_khz": 1_500_000}, "frequency_change", 0.25, "frequency changed by 25%"),
        ({"temperature_millic": 55_000}, "temperature_rise_c", 15, "temperature rose by 15"),
    ],
)
def test_each_exceeded_limit_is_a_reason_with_its_figure_and_allows_another_run(
    after: dict[str, Any], figure: str, value: float, message: str
) -> None:
    judged = judge(make_result(**after), CALLS)
    assert judged.verdict == "invalid"
    assert judged.disturbed
    assert judged.figures[figure] == pytest.approx(value)
    (reason,) = judged.reasons
    assert message in reason
    assert "limit" in reason


@pytest.mark.parametrize(
    "name", ["run_delay_ns", "cpu_pressure_us", "steal_ticks", "frequency_khz", "temperature_millic"]
)
def test_a_counter_that_the_machine_lacks_is_unknown_and_refuses_nothing(name: str) -> None:
    given = make_result(**{name: None})
    given["counters"]["before"] = {**BEFORE, name: None}
    judged = judge(given)
    assert judged.verdict == "valid"
    assert len(judged.unknown) == 1
    assert len(judged.figures) == len(NOISE_LIMITS) - 1


def test_the_error_of_tick_counters_is_not_a_disturbance() -> None:
    assert (
        list_reasons(make_result(monotonic_ns=SECOND // 50, own_cpu_ns=SECOND // 50, busy_ticks=3, steal_ticks=1)) == []
    )


@pytest.mark.parametrize(("last", "refused"), [(100_000, False), (109_000, False), (112_000, True), (85_000, True)])
def test_a_run_whose_end_differs_from_its_beginning_is_invalid(last: int, refused: bool) -> None:
    calls = np.linspace(100_000, last, 1000)
    calls[:100], calls[900:] = 100_000, last
    assert compute_drift(calls) == pytest.approx(last / 100_000 - 1)
    assert bool(list_reasons(make_result(), calls)) is refused


def test_drift_near_the_clocks_resolution_is_ignored() -> None:
    calls = np.full(1000, 100.0)
    calls[900:] = 400
    assert list_reasons(make_result(), calls) == []


def test_a_missing_steady_state_is_a_reason_with_the_time_of_the_warm_up() -> None:
    warm_up = {"steady": False, "spread": 0.2, "duration_ns": 5 * SECOND}
    judged = judge(make_result(warm_up=warm_up), CALLS)
    assert judged.reasons == ["no steady state in 5.0 s of warm-up: its last blocks differ by 20%"]
    assert judged.disturbed


@pytest.mark.parametrize(("count", "refused"), [(63, True), (64, False)])
def test_too_few_inferences_are_invalid_and_another_run_would_not_help(count: int, refused: bool) -> None:
    judged = judge(make_result(), CALLS[:count])
    assert (judged.verdict == "invalid") is refused
    assert not judged.disturbed


def test_a_fallback_of_the_runtime_is_invalid_in_accuracy_runs_too() -> None:
    for job, log in ((PERFORMANCE, VALID), (ACCURACY, {**RAN, "effective_test_mode": "AccuracyOnly"})):
        given = {**make_result(log), "fallbacks": ["the XNNPACK delegate took no operator"]}
        judged = verdict.judge_run(job, given, CALLS)
        assert judged.verdict == "invalid"
        assert not judged.disturbed
        assert "XNNPACK" in judged.reasons[0]


# --- one processor, shared by the run's own threads ------------------------------------------------------------------


def judge_on_one_processor(own_share: float, **after: Any) -> verdict.RunVerdict:
    """Judge a second on the only processor, which the run's threads used for a share and gave up a hundred times."""
    before = {**BEFORE, "processors": 1, "voluntary_switches": 0}
    given = make_result(own_cpu_ns=int(own_share * SECOND), voluntary_switches=100, involuntary_switches=104, **after)
    return judge({**given, "counters": {**given["counters"], "before": before}})


def test_on_one_processor_the_runs_own_threads_do_not_disturb_it() -> None:
    judged = judge_on_one_processor(0.999, run_delay_ns=60_000_000, cpu_pressure_us=61_000)
    assert judged.reasons == []
    assert judged.figures["waiting_share"] == pytest.approx(0.001)
    assert judged.figures["pressure_share"] == pytest.approx(0.002)
    assert judged.figures["switches_per_s"] == 4


def test_on_one_processor_another_process_disturbs_the_run() -> None:
    judged = judge_on_one_processor(0.5, run_delay_ns=560_000_000, cpu_pressure_us=560_000)
    assert judged.figures["waiting_share"] == pytest.approx(0.5)
    assert judged.figures["pressure_share"] == pytest.approx(0.5)
    assert judged.disturbed


def test_on_one_processor_idle_time_does_not_hide_waiting() -> None:
    assert judge_on_one_processor(0.3, run_delay_ns=5_000_000).figures["waiting_share"] == pytest.approx(0.005)


def test_a_run_limited_to_one_processor_reports_one_processor() -> None:
    program = (
        "import os; from edgeproof.runner import conditions, limits;"
        "limits.apply([min(os.sched_getaffinity(0))], None); print(conditions.read_counters()['processors'])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output == "1\n"


# --- emulators -------------------------------------------------------------------------------------------------------


def test_on_an_emulator_times_refuse_no_run_but_all_else_does() -> None:
    late = {**VALID, "result_validity": "INVALID", "result_invalid_reason": "Reduce target QPS"}
    disturbed = make_result(late, warm_up={**STEADY, "steady": False}, run_delay_ns=SECOND // 2, steal_ticks=50)
    assert len(list_reasons(disturbed)) > 2
    judged = verdict.judge_run(PERFORMANCE, disturbed, CALLS, emulated=True)
    assert (judged.verdict, judged.reasons, judged.disturbed) == ("valid", [], False)
    for wrong in (
        {**disturbed, "fallbacks": ["a node runs elsewhere"]},
        make_result({**RAN, "result_validity": "VALID"}),
        make_result({**VALID, "effective_scenario": "Offline"}),
        {"status": "error", "error": "it broke"},
    ):
        assert verdict.judge_run(PERFORMANCE, wrong, CALLS, emulated=True).verdict in ("invalid", "error")
    assert verdict.judge_run(PERFORMANCE, disturbed, CALLS[:10], emulated=True).verdict == "invalid"


@pytest.mark.parametrize(
    ("metric", "value", "floor", "reasons"),
    [
        ("accuracy", 0.9, 0.9, []),
        ("accuracy", 0.881, 0.9, ["accuracy 88.10% is below the task's floor of 90.00%"]),
        ("auc", 0.8499, 0.85, ["AUC 0.850 is below the task's floor of 0.850"]),
        ("rmse", 0.25, 0.3, []),
        ("rmse", 0.31, 0.3, ["RMSE 0.310 is above the task's floor of 0.300"]),
    ],
)
def test_a_quality_is_judged_in_the_direction_of_its_metric(
    metric: str, value: float, floor: float, reasons: list[str]
) -> None:
    judged = verdict.judge_quality(plugins.load("metrics", metric).METRIC, value, floor)
    assert (judged.verdict, judged.reasons) == ("invalid" if reasons else "valid", reasons)
