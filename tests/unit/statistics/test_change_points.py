"""What changed from night to night: found where it was put, and nowhere else more often than is promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeproof.statistics import night_comparison, segmentation
from edgeproof.statistics.comparison import compare_logs


def night(rng: np.random.Generator, cells: int, slower: set[int] | None = None) -> dict[int, list[float]]:
    return {
        cell: list(11 + rng.normal(0, 0.01, 5) + (0.1 if cell in (slower or set()) else 0)) for cell in range(cells)
    }


def test_what_got_slower_is_found_and_the_rest_is_not() -> None:
    rng = np.random.default_rng(0)
    found = night_comparison.compare_nights(night(rng, 200), night(rng, 200, {3, 77}))
    shown = {cell: of.verdict for cell, of in found.items() if of.verdict != "no difference shown"}
    assert shown == {3: "slower", 77: "slower"}


def test_among_equal_nights_nearly_nothing_is_shown() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        found = night_comparison.compare_nights(night(rng, 50), night(rng, 50))
        alarms += any(of.verdict in ("slower", "faster") for of in found.values())
    assert alarms <= 5


def test_each_p_value_is_welchs_and_each_correction_benjamini_and_hochbergs_over_all_cells() -> None:
    rng = np.random.default_rng(2)
    before, after = night(rng, 30), night(rng, 30, {1, 2})
    p_values = np.array([stats.ttest_ind(after[cell], before[cell], equal_var=False).pvalue for cell in range(30)])
    adjusted = stats.false_discovery_control(p_values)
    found = night_comparison.compare_nights(before, after)
    assert set(found) == set(np.flatnonzero(adjusted <= 0.05))
    for cell in (1, 2):
        assert found[cell].p_value == pytest.approx(p_values[cell])
        assert found[cell].p_adjusted == pytest.approx(adjusted[cell])


def test_cells_of_one_night_alone_and_of_too_few_processes_are_left_out() -> None:
    rng = np.random.default_rng(3)
    before, after = night(rng, 3), night(rng, 3, {0, 1, 2})
    after[5] = after.pop(0)
    before[1] = before[1][:2]
    assert set(night_comparison.compare_nights(before, after)) == {2}
    assert night_comparison.compare_nights({}, {}) == {}


def test_processes_that_do_not_vary_are_compared_by_their_ranks() -> None:
    before, after = {0: [1.0] * 5, 1: [1.0] * 5}, {0: [2.0] * 5, 1: [1.0] * 5}
    found = night_comparison.compare_nights(before, after)
    assert found[0].verdict == compare_logs(before[0], after[0], paired=False).verdict == "slower"
    assert 1 not in found or found[1].verdict == "no difference shown"


# --- steps ----------------------------------------------------------------------------------------------------------


def test_one_step_is_found_at_its_place_with_its_size() -> None:
    rng = np.random.default_rng(4)
    (step,) = segmentation.find_steps(np.where(np.arange(20) < 12, 10.0, 10.1) + rng.normal(0, 0.005, 20))
    assert step.index == 12
    assert step.ratio == pytest.approx(math.exp(0.1), rel=0.01)


def test_two_steps_are_found() -> None:
    rng = np.random.default_rng(5)
    levels = np.repeat([10.0, 10.2, 9.9], 10)
    found = segmentation.find_steps(levels + rng.normal(0, 0.01, 30))
    assert [step.index for step in found] == [10, 20]
    assert [step.ratio > 1 for step in found] == [True, False]


def test_a_series_without_a_step_shows_one_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(6)
    alarms = sum(bool(segmentation.find_steps(rng.normal(0, 0.05, 16))) for _ in range(1000))
    assert alarms <= 18  # 1% of 1,000, and three standard deviations more


def test_a_step_has_students_t_of_its_two_sides_times_the_places_tried() -> None:
    rng = np.random.default_rng(7)
    series = np.where(np.arange(9) < 4, 0.0, 0.2) + rng.normal(0, 0.01, 9)
    (step,) = segmentation.find_steps(series)
    expected = stats.ttest_ind(series[4:], series[:4]).pvalue * 4
    assert step.p_value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("series", [[], [1.0], [1.0] * 5, [1.0] * 30, [1.0, 1.0, 1.0, 1.001, 1.001, 1.001]])
def test_short_constant_and_slightly_changing_series_have_no_step(series: list[float]) -> None:
    assert segmentation.find_steps(series) == []


def test_a_step_without_any_noise_is_found() -> None:
    assert [step.index for step in segmentation.find_steps([1.0] * 4 + [2.0] * 5)] == [4]
