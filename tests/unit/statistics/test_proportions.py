"""Proportions and paired differences against published values and closed formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.statistics import proportions
from edgeproof.statistics.estimates import Estimate

Z = 1.959963984540054  # the 97.5% point of the normal distribution


counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        # Newcombe: "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_proportion_has_the_published_wilson_interval(count: int, total: int, low: float, high: float) -> None:
    estimate = proportions.estimate_proportion(count, total)
    assert estimate.value == count / total
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@given(counts)
def test_the_interval_of_a_proportion_is_wilsons_closed_formula(count_and_total: tuple[int, int]) -> None:
    count, n = count_and_total
    p = count / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    estimate = proportions.estimate_proportion(count, n)
    assert estimate.low == pytest.approx(centre - half, abs=1e-12)
    assert estimate.high == pytest.approx(centre + half, abs=1e-12)


def test_a_paired_difference_equals_a_two_by_two_table_computed_by_hand() -> None:
    #              reference right   reference wrong
    # ours right         50                12
    # ours wrong          5                33
    ours = np.array([True] * 62 + [False] * 38)
    reference = np.array([True] * 50 + [False] * 12 + [True] * 5 + [False] * 33)
    estimate = proportions.estimate_paired_difference(ours, reference)
    half = 1.959963984540054 * math.sqrt(17 - 0.49) / 100  # 7.96 points
    assert estimate.value == pytest.approx(0.07)
    assert estimate.low == pytest.approx(0.07 - half)
    assert estimate.high == pytest.approx(0.07 + half)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(hnp.arrays(bool, n), hnp.arrays(bool, n))))
def test_the_interval_of_a_paired_difference_is_the_standard_error_of_the_differences(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    ours, reference = pair
    differences = ours.astype(float) - reference.astype(float)
    half = Z * differences.std() / math.sqrt(len(differences))
    estimate = proportions.estimate_paired_difference(ours, reference)
    assert estimate.value == pytest.approx(differences.mean(), abs=1e-12)
    assert estimate.high - estimate.value == pytest.approx(half, abs=1e-9)
    assert estimate.value - estimate.low == pytest.approx(half, abs=1e-9)


def test_equal_hits_have_a_difference_of_0_without_uncertainty() -> None:
    hits = np.array([True, False, True])
    assert proportions.estimate_paired_difference(hits, hits) == Estimate(0.0, 0.0, 0.0)
