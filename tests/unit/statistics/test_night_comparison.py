"""Two nights compared: slower cells are shown, and equal nights rarely raise an alarm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeproof.statistics import night_comparison
from edgeproof.statistics.comparison import compare_logs


def simulate_night(rng: np.random.Generator, cells: int, slower: set[int] | None = None) -> dict[int, list[float]]:
    return {
        cell: list(11 + rng.normal(0, 0.01, 5) + (0.1 if cell in (slower or set()) else 0)) for cell in range(cells)
    }


def test_slower_cells_are_shown_and_the_others_are_not() -> None:
    rng = np.random.default_rng(0)
    comparisons = night_comparison.compare_nights(simulate_night(rng, 200), simulate_night(rng, 200, {3, 77}))
    shown = {
        cell: comparison.verdict
        for cell, comparison in comparisons.items()
        if comparison.verdict != "no difference shown"
    }
    assert shown == {3: "slower", 77: "slower"}


def test_equal_nights_rarely_show_a_difference() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        comparisons = night_comparison.compare_nights(simulate_night(rng, 50), simulate_night(rng, 50))
        alarms += any(comparison.verdict in ("slower", "faster") for comparison in comparisons.values())
    assert alarms <= 5


def test_p_values_are_welchs_adjusted_by_benjamini_and_hochberg_over_all_cells() -> None:
    rng = np.random.default_rng(2)
    before, after = simulate_night(rng, 30), simulate_night(rng, 30, {1, 2})
    p_values = np.array([stats.ttest_ind(after[cell], before[cell], equal_var=False).pvalue for cell in range(30)])
    adjusted = stats.false_discovery_control(p_values)
    comparisons = night_comparison.compare_nights(before, after)
    assert set(comparisons) == set(np.flatnonzero(adjusted <= 0.05))
    for cell in (1, 2):
        assert comparisons[cell].p_value == pytest.approx(p_values[cell])
        assert comparisons[cell].p_adjusted == pytest.approx(adjusted[cell])


def test_cells_of_a_single_night_or_too_few_processes_are_left_out() -> None:
    rng = np.random.default_rng(3)
    before, after = simulate_night(rng, 3), simulate_night(rng, 3, {0, 1, 2})
    after[5] = after.pop(0)
    before[1] = before[1][:2]
    assert set(night_comparison.compare_nights(before, after)) == {2}
    assert night_comparison.compare_nights({}, {}) == {}


def test_constant_processes_are_compared_by_ranks() -> None:
    before, after = {0: [1.0] * 5, 1: [1.0] * 5}, {0: [2.0] * 5, 1: [1.0] * 5}
    comparisons = night_comparison.compare_nights(before, after)
    assert comparisons[0].verdict == compare_logs(before[0], after[0], paired=False).verdict == "slower"
    assert 1 not in comparisons or comparisons[1].verdict == "no difference shown"
