"""Intervals against closed formulas, published values, exact binomial sums and simulations of known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.report import statistics
from edgeproof.report.statistics import Estimate

Z = 1.959963984540054  # the 97.5% point of the normal distribution

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# --- proportions ---------------------------------------------------------------------------------------------------


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
    estimate = statistics.proportion(count, total)
    assert estimate.value == count / total
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@given(counts)
def test_a_proportions_interval_is_wilsons_closed_formula(count_and_total: tuple[int, int]) -> None:
    count, n = count_and_total
    p = count / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    estimate = statistics.proportion(count, n)
    assert estimate.low == pytest.approx(centre - half, abs=1e-12)
    assert estimate.high == pytest.approx(centre + half, abs=1e-12)


# --- percentiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_fewest_durations_for_a_percentile_are_those_of_mlperfs_early_stopping(percent: int) -> None:
    # The smallest n for which at most one of n calls beyond the percentile would be a 1% surprise.
    def surprise(n: int) -> float:
        p = percent / 100
        return p**n + n * (1 - p) * p ** (n - 1)

    needed = next(n for n in range(1, 10_000) if surprise(n) <= 0.01)
    durations = np.random.default_rng(0).exponential(100.0, needed) + 1
    assert statistics.percentile([durations], percent) is not None
    assert statistics.percentile([durations[1:]], percent) is None


def test_one_process_with_too_few_durations_refuses_the_percentile_of_all() -> None:
    enough, few = np.full(64, 5.0), np.full(63, 5.0)
    assert statistics.percentile([enough, enough, few], 90) is None
    assert statistics.percentile([enough, enough, enough], 90) is not None


def test_no_process_has_no_percentile() -> None:
    assert statistics.percentile([], 50) is None


@given(st.sampled_from([50, 90, 99]), st.integers(0, 1500), st.integers(0, 2**32 - 1))
def test_the_order_statistic_interval_covers_at_least_95_percent_by_an_exact_binomial_sum(
    percent: int, more: int, seed: int
) -> None:
    n = {50: 11, 90: 64, 99: 662}[percent] + more
    # The durations are their own ranks, so the interval's ends tell which ranks were chosen.
    ranks = np.random.default_rng(seed).permutation(np.arange(1, n + 1)).astype(float)
    estimate = statistics.percentile([ranks], percent)
    assert estimate is not None
    low, high = round(estimate.low), round(estimate.high)
    assert 1 <= low < high <= n
    assert _coverage(n, percent / 100, low, high) >= 0.95


def _coverage(n: int, p: float, low: int, high: int) -> float:
    """P(X_(low) ≤ quantile < X_(high)): between low and high − 1 of n durations lie below the quantile."""
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(low, high)
    )
    return math.fsum(math.exp(value) for value in logs)


@pytest.mark.parametrize("percent", [50, 90])
def test_the_interval_of_one_process_covers_the_true_percentile_and_no_more_than_it_must(percent: int) -> None:
    rng = np.random.default_rng(7)
    truth = -math.log(1 - percent / 100)  # of the exponential distribution
    covered = 0
    for _ in range(1000):
        estimate = statistics.percentile([rng.exponential(1.0, 200)], percent)
        assert estimate is not None
        covered += estimate.low <= truth <= estimate.high
    assert 930 <= covered <= 985


def test_several_processes_cover_the_truth_where_the_interval_within_processes_does_not() -> None:
    rng = np.random.default_rng(11)
    n, processes, truth = 100, 5, 1000.0
    ranks = round(n / 2 - Z * math.sqrt(n) / 2), round(n / 2 + Z * math.sqrt(n) / 2)
    ours = within = 0
    for _ in range(400):
        shifts = np.exp(rng.normal(0, 0.10, (processes, 1)))
        durations = truth * shifts * np.exp(rng.normal(0, 0.02, (processes, n)))
        estimate = statistics.percentile(list(durations), 50)
        assert estimate is not None
        ours += estimate.low <= truth <= estimate.high
        low, high = np.log(np.sort(durations, axis=1)[:, list(ranks)]).mean(axis=0)
        within += low <= math.log(truth) <= high
    assert ours >= 370
    assert within < 200


def test_processes_that_agree_keep_the_interval_within_them() -> None:
    durations = np.random.default_rng(3).exponential(50.0, 400) + 20
    alone = statistics.percentile([durations], 90)
    together = statistics.percentile([durations, durations, durations], 90)
    assert alone is not None
    assert together is not None
    assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_percentile_of_several_processes_is_the_geometric_mean_with_students_t_on_the_logarithms() -> None:
    # Constant processes: nothing varies within them, so the whole interval comes from between them.
    processes = [np.full(20, value) for value in (1.0, math.e, math.e**2)]
    estimate = statistics.percentile(processes, 50)
    assert estimate is not None
    half = 4.302652729911275 / math.sqrt(3)  # Student's t with 2 degrees of freedom, standard deviation 1
    assert math.log(estimate.value) == pytest.approx(1.0)
    assert math.log(estimate.low) == pytest.approx(1 - half)
    assert math.log(estimate.high) == pytest.approx(1 + half)


@given(
    st.lists(hnp.arrays(float, st.integers(11, 60), elements=st.floats(1, 1e9)), min_size=1, max_size=5),
    st.floats(0.001, 1000),
)
def test_a_percentile_lies_within_its_interval_and_scales_with_its_unit(
    processes: list[np.ndarray], factor: float
) -> None:
    one = statistics.percentile(processes, 50)
    other = statistics.percentile([factor * durations for durations in processes], 50)
    assert one is not None
    assert other is not None
    assert one.low <= one.value <= one.high
    ours, theirs = one.scaled(factor), other
    assert (theirs.value, theirs.low, theirs.high) == pytest.approx((ours.value, ours.low, ours.high), rel=1e-9)


def test_whole_nanoseconds_from_a_clock_are_taken_as_they_are() -> None:
    durations = np.arange(1, 1001, dtype=np.uint64)
    estimate = statistics.percentile([durations], 50)
    assert estimate is not None
    assert estimate.value == pytest.approx(500.5)


# --- means, differences, ratios ------------------------------------------------------------------------------------


def test_a_mean_has_students_interval() -> None:
    estimate = statistics.mean([1.0, 2.0, 3.0])
    assert estimate is not None
    half = 4.302652729911275 / math.sqrt(3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_a_mean_of_one_value_claims_no_interval_and_of_none_is_none() -> None:
    one = statistics.mean([42.0])
    assert one is not None
    assert one.value == 42.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert statistics.mean([]) is None


def test_a_paired_difference_is_that_of_a_two_by_two_table_worked_by_hand() -> None:
    #              reference right   reference wrong
    # ours right         50                12
    # ours wrong          5                33
    ours = np.array([True] * 62 + [False] * 38)
    reference = np.array([True] * 50 + [False] * 12 + [True] * 5 + [False] * 33)
    estimate = statistics.paired_difference(ours, reference)
    half = 1.959963984540054 * math.sqrt(17 - 0.49) / 100  # 7.96 points
    assert estimate.value == pytest.approx(0.07)
    assert estimate.low == pytest.approx(0.07 - half)
    assert estimate.high == pytest.approx(0.07 + half)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(hnp.arrays(bool, n), hnp.arrays(bool, n))))
def test_a_paired_difference_has_the_standard_error_of_the_samples_differences(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    ours, reference = pair
    differences = ours.astype(float) - reference.astype(float)
    half = Z * differences.std() / math.sqrt(len(differences))
    estimate = statistics.paired_difference(ours, reference)
    assert estimate.value == pytest.approx(differences.mean(), abs=1e-12)
    assert estimate.high - estimate.value == pytest.approx(half, abs=1e-9)
    assert estimate.value - estimate.low == pytest.approx(half, abs=1e-9)


def test_equal_hits_differ_by_nothing_for_certain() -> None:
    hits = np.array([True, False, True])
    assert statistics.paired_difference(hits, hits) == Estimate(0.0, 0.0, 0.0)


def test_a_ratio_adds_its_sides_uncertainties_in_quadrature_on_the_logarithmic_scale() -> None:
    up, down = math.log(1.3), math.log(1.4)
    numerator = Estimate(8.0, 8.0 / 1.3, 8.0 * 1.3)
    denominator = Estimate(2.0, 2.0 / 1.4, 2.0 * 1.4)
    estimate = statistics.ratio(numerator, denominator)
    half = math.sqrt(up**2 + down**2)
    assert estimate.value == 4.0
    assert math.log(estimate.low / 4.0) == pytest.approx(-half)
    assert math.log(estimate.high / 4.0) == pytest.approx(half)


estimates = st.tuples(st.floats(0.1, 1e6), st.floats(1, 3), st.floats(1, 3)).map(
    lambda t: Estimate(t[0], t[0] / t[1], t[0] * t[2])
)


@given(estimates, estimates)
def test_the_inverse_ratio_is_the_ratio_inverted(a: Estimate, b: Estimate) -> None:
    forth, back = statistics.ratio(a, b), statistics.ratio(b, a)
    assert 1 / forth.value == pytest.approx(back.value)
    assert 1 / forth.low == pytest.approx(back.high)
    assert 1 / forth.high == pytest.approx(back.low)


@given(estimates)
def test_a_certain_denominator_leaves_the_numerators_relative_interval(a: Estimate) -> None:
    estimate = statistics.ratio(a, Estimate(2.0, 2.0, 2.0))
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((a.low / 2, a.value / 2, a.high / 2))


# --- the Pareto front ----------------------------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=20)


@given(points)
def test_no_point_on_the_front_is_beaten_and_every_point_off_it_is_beaten_or_tied(
    given_points: list[tuple[float, float]],
) -> None:
    front = statistics.pareto(given_points)
    for index in range(len(given_points)):
        beaten = any(_beats(other, given_points[index]) for other in given_points)
        if index in front:
            assert not beaten
        else:
            assert beaten or any(given_points[chosen] == given_points[index] for chosen in front)


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points.filter(bool))
def test_the_front_rises_in_both_coordinates(given_points: list[tuple[float, float]]) -> None:
    chosen = [given_points[index] for index in statistics.pareto(given_points)]
    assert chosen
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(chosen))
