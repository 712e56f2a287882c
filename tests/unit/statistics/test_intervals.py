"""Intervals against closed formulas, published values, exact binomial sums and simulations of known truth."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal, stats

from edgeproof.statistics import autocorrelation, pareto, percentiles, proportions
from edgeproof.statistics.estimates import Estimate, divide_estimates, estimate_mean
from edgeproof.statistics.percentiles import Spread

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
    estimate = proportions.estimate_proportion(count, total)
    assert estimate.value == count / total
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@given(counts)
def test_a_proportions_interval_is_wilsons_closed_formula(count_and_total: tuple[int, int]) -> None:
    count, n = count_and_total
    p = count / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    estimate = proportions.estimate_proportion(count, n)
    assert estimate.low == pytest.approx(centre - half, abs=1e-12)
    assert estimate.high == pytest.approx(centre + half, abs=1e-12)


# --- percentiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "published"), [(50, 11), (90, 64), (99, 662), (99.9, 6636)])
def test_a_percentile_needs_the_fewest_samples_of_which_two_must_lie_beyond_it(percent: float, published: int) -> None:
    needed = percentiles.count_required_samples(percent)
    assert needed == published  # MLPerf's rules give 64 and 662
    assert stats.binom.cdf(1, needed, 1 - percent / 100) <= 0.01
    assert stats.binom.cdf(1, needed - 1, 1 - percent / 100) > 0.01


@given(st.floats(0.01, 99.99))
def test_a_low_percentile_needs_as_many_as_the_high_one_that_mirrors_it(percent: float) -> None:
    assert percentiles.count_required_samples(percent) == pytest.approx(percentiles.count_required_samples(100 - percent), rel=1e-6)


@pytest.mark.parametrize("percent", [0, 100, -1, 101, math.nan])
def test_what_is_no_percentile_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentiles.count_required_samples(percent)


def test_p999_of_a_thousand_durations_is_refused() -> None:
    durations = np.random.default_rng(0).exponential(100.0, 6636) + 1
    assert percentiles.estimate_percentile([durations[:1000]], 99.9) is None
    assert percentiles.estimate_percentile([durations], 99.9) is not None


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_fewest_durations_for_a_percentile_are_those_of_mlperfs_early_stopping(percent: int) -> None:
    # The smallest n for which at most one of n calls beyond the percentile would be a 1% surprise.
    def surprise(n: int) -> float:
        p = percent / 100
        return p**n + n * (1 - p) * p ** (n - 1)

    needed = next(n for n in range(1, 10_000) if surprise(n) <= 0.01)
    durations = np.random.default_rng(0).exponential(100.0, needed) + 1
    assert percentiles.estimate_percentile([durations], percent) is not None
    assert percentiles.estimate_percentile([durations[1:]], percent) is None


def test_one_process_with_too_few_durations_refuses_the_percentile_of_all() -> None:
    enough, few = np.full(64, 5.0), np.full(63, 5.0)
    assert percentiles.estimate_percentile([enough, enough, few], 90) is None
    assert percentiles.estimate_percentile([enough, enough, enough], 90) is not None


def test_no_process_has_no_percentile() -> None:
    assert percentiles.estimate_percentile([], 50) is None


@given(st.sampled_from([50, 90, 99]), st.integers(0, 1500), st.integers(0, 2**32 - 1))
def test_the_order_statistic_interval_covers_at_least_95_percent_by_an_exact_binomial_sum(
    percent: int, more: int, seed: int
) -> None:
    n = {50: 11, 90: 64, 99: 662}[percent] + more
    # The durations are their own ranks, so the interval's ends tell which ranks were chosen.
    ranks = np.random.default_rng(seed).permutation(np.arange(1, n + 1)).astype(float)
    estimate = percentiles.estimate_percentile([ranks], percent)
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
        estimate = percentiles.estimate_percentile([rng.exponential(1.0, 200)], percent)
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
        estimate = percentiles.estimate_percentile(list(durations), 50)
        assert estimate is not None
        ours += estimate.low <= truth <= estimate.high
        low, high = np.log(np.sort(durations, axis=1)[:, list(ranks)]).mean(axis=0)
        within += low <= math.log(truth) <= high
    assert ours >= 370
    assert within < 200


def test_processes_that_agree_keep_the_interval_within_them() -> None:
    durations = np.random.default_rng(3).exponential(50.0, 400) + 20
    alone = percentiles.estimate_percentile([durations], 90)
    together = percentiles.estimate_percentile([durations, durations, durations], 90)
    assert alone is not None
    assert together is not None
    assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_percentile_of_several_processes_is_the_geometric_mean_with_students_t_on_the_logarithms() -> None:
    # Constant processes: nothing varies within them, so the whole interval comes from between them.
    processes = [np.full(20, value) for value in (1.0, math.e, math.e**2)]
    estimate = percentiles.estimate_percentile(processes, 50)
    assert estimate is not None
    half = 4.302652729911275 / math.sqrt(3)  # Student's t with 2 degrees of freedom, standard deviation 1
    assert math.log(estimate.value) == pytest.approx(1.0)
    assert math.log(estimate.low) == pytest.approx(1 - half)
    assert math.log(estimate.high) == pytest.approx(1 + half)


@given(
    st.lists(hnp.arrays(np.int64, st.integers(11, 60), elements=st.integers(1, 10**9)), min_size=1, max_size=5),
    st.floats(0.001, 1000),
)
def test_a_percentile_lies_within_its_interval_and_scales_with_its_unit(
    processes: list[np.ndarray], factor: float
) -> None:
    one = percentiles.estimate_percentile(processes, 50)
    other = percentiles.estimate_percentile([factor * durations for durations in processes], 50)
    assert one is not None
    assert other is not None
    assert one.low <= one.value <= one.high
    ours, theirs = one.scale(factor), other
    assert (theirs.value, theirs.low, theirs.high) == pytest.approx((ours.value, ours.low, ours.high), rel=1e-9)


def test_whole_nanoseconds_from_a_clock_are_taken_as_they_are() -> None:
    durations = np.arange(1, 1001, dtype=np.uint64)
    estimate = percentiles.estimate_percentile([durations], 50)
    assert estimate is not None
    assert estimate.value == pytest.approx(500.5)


# --- samples that resemble their neighbours ------------------------------------------------------------------------


def _autoregressive(rng: np.random.Generator, rho: float, shape: tuple[int, ...]) -> np.ndarray:
    """Stationary AR(1) series along the last axis, standard normal each."""
    noise = rng.normal(size=shape)
    noise[..., 1:] *= math.sqrt(1 - rho**2)
    return signal.lfilter([1], [1, -rho], noise, axis=-1)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_independent_samples_are_worth_about_as_many_as_they_are(percent: int) -> None:
    rng = np.random.default_rng(1)
    shares = [autocorrelation.estimate_effective_samples(rng.exponential(1.0, 4000), percent / 100) / 4000 for _ in range(60)]
    assert max(shares) <= 1
    assert 0.8 <= float(np.mean(shares)) <= 1  # below 1, as what is worth more than it is was cut off


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_correlated_samples_are_worth_what_the_theory_of_a_normal_process_says(rho: float) -> None:
    # Of two normals correlated by r, the signs are correlated by (2/π) asin r (Sheppard 1899).
    truth = 1 / (1 + 2 * sum(2 / math.pi * math.asin(rho**k) for k in range(1, 500)))
    series = _autoregressive(np.random.default_rng(2), rho, (40, 8000))
    found = np.mean([autocorrelation.estimate_effective_samples(durations, 0.5) for durations in np.exp(series)]) / 8000
    # Student's t over 20 batches takes 8% off; the scatter of a reciprocal and what batches can't see give it back.
    assert found == pytest.approx(truth, rel=0.12)


def test_the_interval_of_correlated_samples_covers_the_truth_where_the_naive_one_does_not() -> None:
    # 95% of 400 is 380 ± 4.4. Simulated at length it is 94%, at which 993 of 1000 seeds cover 364 or more; were it 87%,
    # 8 of 1000 would. What is missing are correlations over longer than a batch of 204 calls.
    n, covered, naive = 4096, 0, 0
    ranks = stats.binom.ppf([0.025, 0.975], n, 0.5).astype(int)
    for durations in 1000 * np.exp(0.1 * _autoregressive(np.random.default_rng(3), 0.9, (400, n))):
        estimate = percentiles.estimate_percentile([durations], 50)
        assert estimate is not None
        covered += estimate.low <= 1000 <= estimate.high
        low, high = np.partition(durations, ranks)[ranks]
        naive += low <= 1000 <= high
    assert 364 <= covered <= 396
    assert naive < 240


@pytest.mark.parametrize(
    "durations",
    [
        np.full(500, 7.0),
        np.tile([1.0, 2.0], 250),  # each makes up for the last
        np.array([]),
        np.array([1.0]),
        np.array([3.0, 3.0, 4.0]),
    ],
)
def test_samples_are_never_worth_more_than_they_are(durations: np.ndarray) -> None:
    assert autocorrelation.estimate_effective_samples(durations, 0.5) == len(durations)


def test_a_process_that_steps_to_another_speed_is_worth_few_samples() -> None:
    durations = np.repeat([100.0, 120.0], 5000) + np.random.default_rng(4).normal(0, 1, 10_000)
    assert 1 <= autocorrelation.estimate_effective_samples(durations, 0.5) < 25
    estimate = percentiles.estimate_percentile([durations], 50)
    assert estimate is not None
    assert (round(estimate.low / 10), round(estimate.high / 10)) == (10, 12)


@given(hnp.arrays(np.int64, st.integers(0, 200), elements=st.integers(1, 5)), st.sampled_from([0.5, 0.9, 0.99]))
def test_ties_are_worth_one_sample_at_least_and_all_at_most(durations: np.ndarray, share: float) -> None:
    assert min(1, len(durations)) <= autocorrelation.estimate_effective_samples(durations, share) <= len(durations)


def test_six_million_durations_take_less_than_two_seconds() -> None:
    durations = np.random.default_rng(5).integers(90_000, 110_000, 6_000_000, dtype=np.uint64)
    start = time.process_time()
    assert autocorrelation.estimate_effective_samples(durations, 0.99) > 2_000_000
    assert time.process_time() - start < 2


def test_the_autocorrelation_is_spearmans_of_a_series_and_itself_later() -> None:
    # Ranks 1 2 3 4 about their mean: (−1.5·−0.5 + −0.5·0.5 + 0.5·1.5) / (2·1.5² + 2·0.5²)
    assert autocorrelation.compute_autocorrelation(np.array([1, 10, 100, 1000])) == pytest.approx(1.25 / 5)
    series = _autoregressive(np.random.default_rng(6), 0.9, (50_000,))
    assert autocorrelation.compute_autocorrelation(series) == pytest.approx(6 / math.pi * math.asin(0.45), abs=0.01)
    assert autocorrelation.compute_autocorrelation(series, 3) == pytest.approx(stats.spearmanr(series[3:], series[:-3])[0], abs=1e-3)


def test_one_interrupted_call_hides_no_autocorrelation() -> None:
    durations = 1000 + _autoregressive(np.random.default_rng(7), 0.9, (2000,))
    durations[777] = 1e9
    assert autocorrelation.compute_autocorrelation(durations) > 0.8
    assert autocorrelation.compute_independence_p_value(durations) < 1e-6


def test_independent_durations_are_called_dependent_as_seldom_as_the_test_promises() -> None:
    rng = np.random.default_rng(8)
    p_values = [autocorrelation.compute_independence_p_value(rng.pareto(1.1, 300)) for _ in range(400)]  # a tail with no variance
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.05)
    assert low <= sum(p < 0.05 for p in p_values) <= high
    assert autocorrelation.compute_independence_p_value(_autoregressive(rng, 0.3, (300,))) < 0.01


def test_the_test_of_independence_is_ljung_and_boxs_formula() -> None:
    ranks = np.random.default_rng(9).permutation(30).astype(float)
    centred = ranks - ranks.mean()
    rho = [sum(centred[i] * centred[i - k] for i in range(k, 30)) / sum(centred**2) for k in (1, 2, 3)]
    statistic = 30 * 32 * sum(r**2 / (30 - k) for r, k in zip(rho, (1, 2, 3), strict=True))
    assert autocorrelation.compute_independence_p_value(ranks, lags=3) == pytest.approx(stats.chi2.sf(statistic, 3))


@pytest.mark.parametrize("durations", [np.array([]), np.array([5.0]), np.full(50, 5.0)])
def test_where_nothing_varies_no_dependence_is_claimed(durations: np.ndarray) -> None:
    assert autocorrelation.compute_autocorrelation(durations) == 0
    assert autocorrelation.compute_independence_p_value(durations) == 1


def spread(processes: list[np.ndarray], percent: float) -> Spread | None:
    return percentiles.measure_spread([percentiles.estimate_log_percentile(durations, percent) for durations in processes])


def test_the_spread_tells_what_lies_between_processes_from_what_lies_within() -> None:
    rng = np.random.default_rng(10)
    shifts = np.exp(rng.normal(0, 0.03, (60, 1)))
    found = spread(list(1e6 * shifts * np.exp(rng.normal(0, 0.05, (60, 400)))), 50)
    assert found is not None
    within = math.sqrt(math.pi / 2) * 0.05 / math.sqrt(400)  # of the median of a normal
    assert found.within == pytest.approx(within, rel=0.15)
    # χ² with 59 degrees of freedom: 27% off would be a 1 in 1000 surprise.
    assert found.between == pytest.approx(math.hypot(0.03, within), rel=0.27)


def test_constant_processes_differ_between_and_not_within() -> None:
    found = spread([np.full(20, value) for value in (1.0, math.e, math.e**2)], 50)
    assert found is not None
    assert (found.between, found.within) == (pytest.approx(1), 0)


def test_one_process_or_one_too_short_has_no_spread() -> None:
    assert spread([np.full(64, 5.0)], 90) is None
    assert spread([np.full(64, 5.0), np.full(63, 5.0)], 90) is None


# --- means, differences, ratios ------------------------------------------------------------------------------------


def test_a_mean_has_students_interval() -> None:
    estimate = estimate_mean([1.0, 2.0, 3.0])
    assert estimate is not None
    half = 4.302652729911275 / math.sqrt(3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_a_mean_of_one_value_claims_no_interval_and_of_none_is_none() -> None:
    one = estimate_mean([42.0])
    assert one is not None
    assert one.value == 42.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert estimate_mean([]) is None


def test_a_paired_difference_is_that_of_a_two_by_two_table_worked_by_hand() -> None:
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
def test_a_paired_difference_has_the_standard_error_of_the_samples_differences(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    ours, reference = pair
    differences = ours.astype(float) - reference.astype(float)
    half = Z * differences.std() / math.sqrt(len(differences))
    estimate = proportions.estimate_paired_difference(ours, reference)
    assert estimate.value == pytest.approx(differences.mean(), abs=1e-12)
    assert estimate.high - estimate.value == pytest.approx(half, abs=1e-9)
    assert estimate.value - estimate.low == pytest.approx(half, abs=1e-9)


def test_equal_hits_differ_by_nothing_for_certain() -> None:
    hits = np.array([True, False, True])
    assert proportions.estimate_paired_difference(hits, hits) == Estimate(0.0, 0.0, 0.0)


def test_a_ratio_adds_its_sides_uncertainties_in_quadrature_on_the_logarithmic_scale() -> None:
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
def test_the_inverse_ratio_is_the_ratio_inverted(a: Estimate, b: Estimate) -> None:
    forth, back = divide_estimates(a, b), divide_estimates(b, a)
    assert 1 / forth.value == pytest.approx(back.value)
    assert 1 / forth.low == pytest.approx(back.high)
    assert 1 / forth.high == pytest.approx(back.low)


@given(estimates)
def test_a_certain_denominator_leaves_the_numerators_relative_interval(a: Estimate) -> None:
    estimate = divide_estimates(a, Estimate(2.0, 2.0, 2.0))
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((a.low / 2, a.value / 2, a.high / 2))


# --- the Pareto front ----------------------------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=20)


@given(points)
def test_no_point_on_the_front_is_beaten_and_every_point_off_it_is_beaten_or_tied(
    given_points: list[tuple[float, float]],
) -> None:
    front = pareto.find_pareto_front(given_points)
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
    chosen = [given_points[index] for index in pareto.find_pareto_front(given_points)]
    assert chosen
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(chosen))
