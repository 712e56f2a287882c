"""Steps are found at their index, and noise rarely looks like a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeproof.statistics import change_points


def test_one_step_is_found_at_its_index_with_its_size() -> None:
    rng = np.random.default_rng(4)
    (step,) = change_points.find_steps(np.where(np.arange(20) < 12, 10.0, 10.1) + rng.normal(0, 0.005, 20))
    assert step.index == 12
    assert step.ratio == pytest.approx(math.exp(0.1), rel=0.01)


def test_two_steps_are_found() -> None:
    rng = np.random.default_rng(5)
    levels = np.repeat([10.0, 10.2, 9.9], 10)
    steps = change_points.find_steps(levels + rng.normal(0, 0.01, 30))
    assert [step.index for step in steps] == [10, 20]
    assert [step.ratio > 1 for step in steps] == [True, False]


def test_a_series_without_a_step_shows_one_in_1_percent_of_cases() -> None:
    rng = np.random.default_rng(6)
    alarms = sum(bool(change_points.find_steps(rng.normal(0, 0.05, 16))) for _ in range(1000))
    assert alarms <= 18  # 1% of 1,000, and three standard deviations more


def test_the_p_value_of_a_step_is_students_t_times_the_indices_tried() -> None:
    rng = np.random.default_rng(7)
    series = np.where(np.arange(9) < 4, 0.0, 0.2) + rng.normal(0, 0.01, 9)
    (step,) = change_points.find_steps(series)
    expected = stats.ttest_ind(series[4:], series[:4]).pvalue * 4
    assert step.p_value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("series", [[], [1.0], [1.0] * 5, [1.0] * 30, [1.0, 1.0, 1.0, 1.001, 1.001, 1.001]])
def test_short_constant_and_slightly_changing_series_have_no_step(series: list[float]) -> None:
    assert change_points.find_steps(series) == []


def test_a_step_without_noise_is_found() -> None:
    assert [step.index for step in change_points.find_steps([1.0] * 4 + [2.0] * 5)] == [4]
