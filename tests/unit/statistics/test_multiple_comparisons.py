"""Adjusted p-values against R, and their properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.statistics.comparison import Comparison, compare
from edgeproof.statistics.multiple_comparisons import adjust_p_values

Processes = list[np.ndarray]


def make_constant_processes(logs: Sequence[float]) -> Processes:
    """Return processes whose percentiles have these logarithms."""
    return [np.full(64, math.exp(value)) for value in logs]


def make_comparisons(p_values: Sequence[float]) -> list[Comparison]:
    one = compare(
        make_constant_processes(np.arange(10) / 100), make_constant_processes(0.5 + np.arange(10) / 90), paired=False
    )
    assert one.verdict == "slower"
    return [replace(one, p_value=p) for p in p_values]


def test_holms_adjustment_equals_rs() -> None:
    adjusted = adjust_p_values(make_comparisons([0.01, 0.04, 0.03, 0.005]))
    # R's p.adjust(…, "holm"): 4 · 0.005, 3 · 0.01, 2 · 0.03, and for 0.04 at least the value before it.
    assert [one.p_adjusted for one in adjusted] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [one.verdict for one in adjusted] == ["slower", "no difference shown", "no difference shown", "slower"]
    assert [one.p_value for one in adjusted] == [0.01, 0.04, 0.03, 0.005]


def test_benjamini_and_hochbergs_adjustment_equals_rs() -> None:
    adjusted = adjust_p_values(make_comparisons([0.01, 0.04, 0.03, 0.005]), method="benjamini-hochberg")
    assert [one.p_adjusted for one in adjusted] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert {one.verdict for one in adjusted} == {"slower"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_p_values_lie_between_the_raw_ones_and_bonferronis_and_adjusting_twice_changes_nothing(
    p_values: list[float],
) -> None:
    adjusted = adjust_p_values(make_comparisons(p_values))
    adjusted_p_values = np.array([one.p_adjusted for one in adjusted])
    assert np.all(adjusted_p_values >= np.array(p_values))
    assert np.all(adjusted_p_values <= np.minimum(1, len(p_values) * np.array(p_values) + 1e-15))
    assert adjust_p_values(adjusted) == adjusted


def test_comparisons_of_too_few_processes_are_not_counted() -> None:
    few = compare(make_constant_processes([0.0]), make_constant_processes([1.0]), paired=False)
    adjusted = adjust_p_values([few, *make_comparisons([0.02, 0.02]), few])
    assert [one.p_adjusted for one in adjusted[1:3]] == pytest.approx([0.04, 0.04])
    assert [one.verdict for one in adjusted] == ["too few processes", "slower", "slower", "too few processes"]
    assert adjust_p_values([]) == []
    assert [one.verdict for one in adjust_p_values([few])] == ["too few processes"]


def test_a_hundred_comparisons_of_equal_arms_raise_no_alarm_after_adjustment() -> None:
    rng = np.random.default_rng(4)
    alike = [compare(*map(make_constant_processes, rng.normal(0, 0.02, (2, 8))), paired=False) for _ in range(100)]
    assert any(one.verdict != "no difference shown" for one in alike)
    assert {one.verdict for one in adjust_p_values(alike)} == {"no difference shown"}
