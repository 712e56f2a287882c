"""Means and ratios with their intervals, against closed formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.statistics.estimates import Estimate, divide_estimates, estimate_mean


def test_a_mean_has_students_interval() -> None:
    estimate = estimate_mean([1.0, 2.0, 3.0])
    assert estimate is not None
    half = 4.302652729911275 / math.sqrt(3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_the_mean_of_one_value_has_no_interval_and_of_no_value_is_none() -> None:
    one = estimate_mean([42.0])
    assert one is not None
    assert one.value == 42.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert estimate_mean([]) is None


def test_a_ratio_adds_both_uncertainties_in_quadrature_on_the_logarithmic_scale() -> None:
    up, down = math.log(1.3), math.log(1.4)
    numerator = Estimate(8.0, 8.0 / 1.3, 8.0 * 1.3)
    denominator = Estimate(2.0, 2.0 / 1.4, 2.0 * 1.4)
    estimate = divide_estimates(numerator, denominator)
    half = math.sqrt(up**2 + down**2)
    assert estimate.value == 4.0
    assert math.log(estimate.low / 4.0) == pytest.approx(-half)
    assert math.log(estimate.high / 4.0) == pytest.approx(half)


estimates = st.tuples(st.floats(0.1, 1e6), st.floats(1, 3), st.floats(1, 3)).map(
    lambda t: Estimate(t[0], t[0] / t[1], t[0] * t[2])
)


@given(estimates, estimates)
def test_swapping_numerator_and_denominator_inverts_the_ratio(a: Estimate, b: Estimate) -> None:
    forth, back = divide_estimates(a, b), divide_estimates(b, a)
    assert 1 / forth.value == pytest.approx(back.value)
    assert 1 / forth.low == pytest.approx(back.high)
    assert 1 / forth.high == pytest.approx(back.low)


@given(estimates)
def test_an_exact_denominator_keeps_the_relative_interval_of_the_numerator(a: Estimate) -> None:
    estimate = divide_estimates(a, Estimate(2.0, 2.0, 2.0))
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((a.low / 2, a.value / 2, a.high / 2))
