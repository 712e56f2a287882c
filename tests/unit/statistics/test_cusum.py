"""A growing series of nights: steps are detected soon, and neither noise nor one disturbed night raises an alarm."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeproof.statistics import cusum
from edgeproof.statistics.cusum import MIN_BASELINE_NIGHTS, monitor_series

STEP = math.log(1.05)
EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def compute_average_run_length(k: float, h: float, states: int = 400) -> float:
    """Return the average run length of a CUSUM of standard normal values, by a Markov chain.

    Source: Brook, Evans, "An approach to the probability distribution of CUSUM run length", Biometrika 59, 1972.
    """
    width, at = 2 * h / (2 * states - 1), np.arange(states)
    apart = (at[None, :] - at[:, None]) * width
    chances = stats.norm.cdf(apart + width / 2 + k) - stats.norm.cdf(apart - width / 2 + k)
    chances[:, 0] = stats.norm.cdf(-at * width + width / 2 + k)
    return float(np.linalg.solve(np.eye(states) - chances, np.ones(states))[0])


@pytest.mark.parametrize("allowance", [0.3, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("cells", [1, 20, 500])
def test_the_threshold_gives_the_run_length_designed_for_all_cells_together(allowance: float, cells: int) -> None:
    nights = cells * cusum.NIGHTS_A_YEAR / cusum.DESIGNED_ALARMS_A_YEAR
    assert compute_average_run_length(allowance, cusum.compute_threshold(allowance, cells)) == pytest.approx(
        nights, rel=0.3
    )


def find_first_alarm(values: list[float], cells: int) -> int | None:
    """Return the first night on which the sum of a series with the smallest noise exceeds the threshold."""
    level, sigma, k, total = np.median(values[:MIN_BASELINE_NIGHTS]), STEP / 3, STEP / 2, 0.0
    for night in range(MIN_BASELINE_NIGHTS, len(values)):
        d = min(max(values[night] - level, -STEP), STEP)
        total = max(0.0, total + (d - k) / sigma)
        if total > cusum.compute_threshold(1.5, cells):
            return night
    return None


@given(st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=5), st.sampled_from([1, 20, 300]))
def test_the_sum_is_pages_with_the_distance_of_a_night_limited_to_one_step(after: list[float], cells: int) -> None:
    series = [10.0] * MIN_BASELINE_NIGHTS + [10.0 + value for value in after]
    alarms = [change.detected for change in monitor_series(series, cells=cells).changes if change.ratio > 1]
    slower_first = find_first_alarm(series, cells)
    faster_first = find_first_alarm([-value for value in series], cells)
    if slower_first is not None and (faster_first is None or slower_first < faster_first):
        assert alarms[0] == slower_first
    else:
        assert alarms == []


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_is_detected_within_five_nights_with_its_index_and_size(sign: int) -> None:
    rng = np.random.default_rng(0)
    series = np.where(np.arange(40) < 30, 10.0, 10.0 + sign * STEP) + rng.normal(0, 0.004, 40)
    (change,) = monitor_series(series, cells=20).changes
    assert change.index == 30
    assert 30 < change.detected < 35
    assert change.ratio == pytest.approx(math.exp(sign * STEP), rel=0.01)
    for nights in range(30, change.detected + 1):  # no change was detected on an earlier night
        assert monitor_series(series[:nights], cells=20).changes == ()


def test_single_slow_nights_are_no_step_and_hide_none() -> None:
    rng = np.random.default_rng(1)
    series = 10.0 + rng.normal(0, 0.004, 60)
    series[[20, 27, 35]] += [0.5, 1.0, 3.0]
    assert monitor_series(series, cells=20).changes == ()
    series[50:] += STEP
    assert [change.index for change in monitor_series(series, cells=20).changes] == [50]


def test_after_a_step_the_next_step_from_the_new_level_is_detected() -> None:
    rng = np.random.default_rng(2)
    series = np.repeat([10.0, 10.1, 10.0], 30) + rng.normal(0, 0.003, 90)
    monitored = monitor_series(series, cells=20)
    assert [(change.index, change.ratio > 1) for change in monitored.changes] == [(30, True), (60, False)]
    assert monitored.level_start == 60


def test_normal_noise_raises_no_more_alarms_than_designed() -> None:
    rng = np.random.default_rng(3)
    alarms = sum(len(monitor_series(rng.normal(0, STEP / 3, 365), cells=20).changes) for _ in range(100))
    assert alarms <= 5  # five device-years: the design allows 0.5, but level and noise are estimated


@pytest.mark.parametrize("series", [[], [1.0], [1.0] * MIN_BASELINE_NIGHTS, [5.0] * 13 + [9.0]])
def test_a_short_series_has_no_baseline(series: list[float]) -> None:
    monitored = monitor_series(series, cells=20)
    assert monitored.changes == ()
    assert not monitored.has_baseline


def test_a_constant_series_has_a_baseline_and_no_change() -> None:
    monitored = monitor_series([1.0] * 30, cells=20)
    assert monitored.has_baseline
    assert monitored.changes == ()
    assert [change.index for change in monitor_series([1.0] * 20 + [2.0] * 5, cells=20).changes] == [20]


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=40))
def test_a_night_is_the_lower_quartile_of_its_processes_and_a_level_is_the_median(logs: list[float]) -> None:
    assert cusum.summarize_night(logs) == pytest.approx(np.quantile(logs, 0.25), abs=1e-12)
    assert cusum._compute_median(np.array(logs)) == pytest.approx(np.median(logs), abs=1e-12)


# --- the figures of docs/farm.md -----------------------------------------------------------------------------------


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("change_points", EXPERIMENTS / "change_points.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["change_points"] = module  # dataclass looks up its module here
    spec.loader.exec_module(module)
    return module


def test_with_real_noise_of_eight_processes_steps_are_detected_without_false_alarms() -> None:
    module = load_script()
    noise, rng = module.read_noise(), np.random.default_rng(7)
    assert {runtime: len(residuals) for runtime, residuals in noise.process.items()} == {
        "onnx": 52,
        "openvino": 36,
        "tflite": 40,
    }
    assert len(noise.session) == 24
    detected = 0
    for number in range(60):
        runtime = sorted(noise.process)[number % 3]
        series = noise.draw_series(rng, runtime, 35, 8, 1.0)
        assert module.find_robust_cusum_alarms(series) == []
        series[30:] += STEP
        detected += bool(module.find_robust_cusum_alarms(series))
    assert detected >= 54
