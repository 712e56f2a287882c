"""Percentiles against closed formulas, exact binomial sums and simulations of known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from edgeproof.statistics import percentiles
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.percentiles import Spread

Z = 1.959963984540054  # the 97.5% point of the normal distribution


def estimate_percentile(processes: Sequence[np.ndarray], percent: float) -> Estimate | None:
    return percentiles.combine_processes([percentiles.estimate_log_percentile(one, percent) for one in processes])


@pytest.mark.parametrize(("percent", "published"), [(50, 11), (90, 64), (99, 662), (99.9, 6636)])
def test_a_percentile_needs_so_many_samples_that_two_lie_beyond_it_with_99_percent_probability(
    percent: float, published: int
) -> None:
    needed = percentiles.count_required_samples(percent)
    assert needed == published  # MLPerf's rules give 64 and 662
    assert stats.binom.cdf(1, needed, 1 - percent / 100) <= 0.01
    assert stats.binom.cdf(1, needed - 1, 1 - percent / 100) > 0.01


@given(st.floats(0.01, 99.99))
def test_a_low_percentile_needs_as_many_samples_as_the_mirrored_high_one(percent: float) -> None:
    assert percentiles.count_required_samples(percent) == pytest.approx(
        percentiles.count_required_samples(100 - percent), rel=1e-6
    )


@pytest.mark.parametrize("percent", [0, 100, -1, 101, math.nan])
def test_a_percentile_outside_0_to_100_raises_value_error(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentiles.count_required_samples(percent)


def test_p999_of_a_thousand_durations_is_none() -> None:
    durations = np.random.default_rng(0).exponential(100.0, 6636) + 1
    assert estimate_percentile([durations[:1000]], 99.9) is None
    assert estimate_percentile([durations], 99.9) is not None


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_required_durations_are_those_of_mlperfs_early_stopping(percent: int) -> None:
    # The smallest n for which at most one of n calls beyond the percentile would be a 1% surprise.
    def surprise(n: int) -> float:
        p = percent / 100
        return p**n + n * (1 - p) * p ** (n - 1)

    needed = next(n for n in range(1, 10_000) if surprise(n) <= 0.01)
    durations = np.random.default_rng(0).exponential(100.0, needed) + 1
    assert estimate_percentile([durations], percent) is not None
    assert estimate_percentile([durations[1:]], percent) is None


def test_one_process_with_too_few_durations_makes_the_percentile_none() -> None:
    enough, few = np.full(64, 5.0), np.full(63, 5.0)
    assert estimate_percentile([enough, enough, few], 90) is None
    assert estimate_percentile([enough, enough, enough], 90) is not None


def test_the_percentile_of_no_process_is_none() -> None:
    assert estimate_percentile([], 50) is None


@given(st.sampled_from([50, 90, 99]), st.integers(0, 1500), st.integers(0, 2**32 - 1))
def test_the_order_statistic_interval_covers_at_least_95_percent_by_an_exact_binomial_sum(
    percent: int, more: int, seed: int
) -> None:
    n = {50: 11, 90: 64, 99: 662}[percent] + more
    # The durations are their own ranks, so the interval's ends tell which ranks were chosen.
    ranks = np.random.default_rng(seed).permutation(np.arange(1, n + 1)).astype(float)
    estimate = estimate_percentile([ranks], percent)
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
def test_the_interval_of_one_process_covers_the_true_percentile_about_95_percent_of_the_time(percent: int) -> None:
    rng = np.random.default_rng(7)
    truth = -math.log(1 - percent / 100)  # of the exponential distribution
    covered = 0
    for _ in range(1000):
        estimate = estimate_percentile([rng.exponential(1.0, 200)], percent)
        assert estimate is not None
        covered += estimate.low <= truth <= estimate.high
    assert 930 <= covered <= 985


def test_the_interval_over_processes_covers_the_truth_and_the_one_within_processes_does_not() -> None:
    rng = np.random.default_rng(11)
    n, processes, truth = 100, 5, 1000.0
    ranks = round(n / 2 - Z * math.sqrt(n) / 2), round(n / 2 + Z * math.sqrt(n) / 2)
    ours = within = 0
    for _ in range(400):
        shifts = np.exp(rng.normal(0, 0.10, (processes, 1)))
        durations = truth * shifts * np.exp(rng.normal(0, 0.02, (processes, n)))
        estimate = estimate_percentile(list(durations), 50)
        assert estimate is not None
        ours += estimate.low <= truth <= estimate.high
        low, high = np.log(np.sort(durations, axis=1)[:, list(ranks)]).mean(axis=0)
        within += low <= math.log(truth) <= high
    assert ours >= 370
    assert within < 200


def test_equal_processes_keep_the_interval_within_the_process() -> None:
    durations = np.random.default_rng(3).exponential(50.0, 400) + 20
    alone = estimate_percentile([durations], 90)
    together = estimate_percentile([durations, durations, durations], 90)
    assert alone is not None
    assert together is not None
    assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_percentile_of_several_processes_is_the_geometric_mean_with_students_t_on_the_logarithms() -> None:
    # Constant processes: nothing varies within them, so the whole interval comes from between them.
    processes = [np.full(20, value) for value in (1.0, math.e, math.e**2)]
    estimate = estimate_percentile(processes, 50)
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
    one = estimate_percentile(processes, 50)
    other = estimate_percentile([factor * durations for durations in processes], 50)
    assert one is not None
    assert other is not None
    assert one.low <= one.value <= one.high
    ours, theirs = one.scale(factor), other
    assert (theirs.value, theirs.low, theirs.high) == pytest.approx((ours.value, ours.low, ours.high), rel=1e-9)


def test_integer_nanoseconds_are_accepted() -> None:
    durations = np.arange(1, 1001, dtype=np.uint64)
    estimate = estimate_percentile([durations], 50)
    assert estimate is not None
    assert estimate.value == pytest.approx(500.5)


def measure_spread(processes: list[np.ndarray], percent: float) -> Spread | None:
    return percentiles.measure_spread(
        [percentiles.estimate_log_percentile(durations, percent) for durations in processes]
    )


def test_the_spreadseparates_variation_between_processes_from_variation_within() -> None:
    rng = np.random.default_rng(10)
    shifts = np.exp(rng.normal(0, 0.03, (60, 1)))
    spread = measure_spread(list(1e6 * shifts * np.exp(rng.normal(0, 0.05, (60, 400)))), 50)
    assert spread is not None
    within = math.sqrt(math.pi / 2) * 0.05 / math.sqrt(400)  # of the median of a normal
    assert spread.within == pytest.approx(within, rel=0.15)
    # χ² with 59 degrees of freedom: 27% off would be a 1 in 1000 surprise.
    assert spread.between == pytest.approx(math.hypot(0.03, within), rel=0.27)


def test_constant_processes_have_a_spreadbetween_them_only() -> None:
    spread = measure_spread([np.full(20, value) for value in (1.0, math.e, math.e**2)], 50)
    assert spread is not None
    assert (spread.between, spread.within) == (pytest.approx(1), 0)


def test_the_spreadis_none_with_one_process_or_too_few_durations() -> None:
    assert measure_spread([np.full(64, 5.0)], 90) is None
    assert measure_spread([np.full(64, 5.0), np.full(63, 5.0)], 90) is None
