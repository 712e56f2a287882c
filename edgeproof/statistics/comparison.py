"""A/B comparison of the latencies of two sets of processes.

The process is the unit of replication. All inferences of a process share its memory layout and the state of the machine
at that time, so even a thousand of them do not show how the next process will behave. Each process therefore
contributes one number, the logarithm of its percentile.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy  # scipy.stats takes a second to load, so it is loaded when it is first used

from edgeproof.statistics.estimates import CONFIDENCE, Array, Estimate
from edgeproof.statistics.percentiles import compute_log_percentiles, count_required_samples

ALPHA = 0.05
POWER = 0.80
MIN_PROCESSES = 3

_MAX_EXACT_PROCESSES = 50  # up to this many processes a side the rank tests are exact
_DIGITS = 12  # decimal digits of a logarithm that count; smaller differences are rounding errors

ComparisonVerdict = Literal["slower", "faster", "no difference shown", "too few processes"]


@dataclass(frozen=True)
class Comparison:
    """Comparison of b with a. Figures that can't be computed are NaN.

    Attributes:
        percent: the percentile that is compared, 50 for the median.
        paired: True if a[i] and b[i] were measured in the same round.
        ratio: b/a of the geometric means of the processes' percentiles, with its 95% interval. Above 1, b is slower.
            The interval is not adjusted for multiple comparisons.
        p_value: of Student's t test (paired) or Welch's (unpaired) on the logarithms. The hypothesis is a ratio within
            the margin.
        p_value_rank: of Wilcoxon's signed-rank test (paired) or Mann and Whitney's U test (unpaired) of the same.
        p_adjusted: `p_value`, adjusted for all comparisons that are made together.
        processes: how many processes of a and of b have enough durations for the percentile.
        smallest_detectable_ratio: the slowdown that is detected with a probability of 80%.
        margin: ratios from 1/(1 + margin) to 1 + margin count as no difference.
        verdict: for b, compared with a.
    """

    percent: float
    paired: bool
    ratio: Estimate
    p_value: float
    p_value_rank: float
    p_adjusted: float
    processes: tuple[int, int]
    smallest_detectable_ratio: float
    margin: float
    verdict: ComparisonVerdict

    @property
    def is_decided_by_t_alone(self) -> bool:
        """True if the rank test cannot reach p < 0.05 with so few processes, so that it can't confirm the t test.

        False if the processes do not vary, because then there is no t test.
        """
        has_t_test = not math.isnan(self.ratio.low) and min(self.processes) >= MIN_PROCESSES
        return has_t_test and not _can_ranks_confirm(self)

    @property
    def processes_for_ranks(self) -> int:
        """The number of processes a side from which the rank test can confirm a difference."""
        return next(n for n in itertools.count(1) if _compute_smallest_rank_p_value(n, n, self.paired) < ALPHA)


def compare(
    a: Sequence[Array], b: Sequence[Array], *, percent: float = 50, paired: bool, margin: float = 0.0
) -> Comparison:
    """Compare two sets of processes by their raw durations.

    Paired samples (a[i] and b[i] come from the same round of an interleaved session) are tested by Student's t on the
    differences of the logarithms, unpaired ones by Welch's t (Welch, "The generalization of 'Student's' problem when
    several different population variances are involved", Biometrika 34, 1947).

    A difference is shown if p < 0.05 and the rank test agrees. Student's t assumes that the percentiles are about
    log-normal, which a few processes cannot prove; the rank test assumes no distribution. The rank test is ignored
    where it can't reach p < 0.05 at all: with 3 processes a side, or up to 5 rounds if paired. Where nothing varies,
    t is undefined and the rank test decides alone.

    With a margin, a difference is shown only if the whole interval lies outside the margin: both tests are then made
    against the nearer end of the margin.

    The smallest detectable ratio is (1 + margin) · exp((t(97.5%) + t(80%)) · standard error) with the degrees of
    freedom of the test (Bloom, "Minimum detectable effects", Evaluation Review 19, 1995). It holds for Student's t
    alone: the rank test and the adjustment for multiple comparisons reduce the 80% a little.

    If any process has too few durations for the percentile, the verdict is "too few processes". Leaving that process
    out would bias the comparison, because the slowest processes have the fewest durations.

    Args:
        a, b: for each process its durations in ns, in the order in which they were measured.
        percent: the percentile to compare, 50 for the median.
        paired: True if a[i] and b[i] were measured in the same round.
        margin: the share up to which a difference does not matter, such as 0.02.

    Raises ValueError for a negative or infinite margin, or for a paired comparison of unequal numbers of processes.
    """
    enough_a, enough_b = (
        sum(len(durations) >= count_required_samples(percent) for durations in side) for side in (a, b)
    )
    logs_a, logs_b = compute_log_percentiles(a, percent), compute_log_percentiles(b, percent)
    if logs_a is None or logs_b is None:
        _check_arguments(len(a), len(b), paired, margin)
        return _make_undecided(percent, paired, (enough_a, enough_b), margin)
    return compare_logs(logs_a, logs_b, percent=percent, paired=paired, margin=margin)


def compare_logs(
    a: Sequence[float] | Array, b: Sequence[float] | Array, *, percent: float = 50, paired: bool, margin: float = 0.0
) -> Comparison:
    """Compare as `compare` does, given the natural logarithm of each process's percentile."""
    _check_arguments(len(a), len(b), paired, margin)
    comparison = _make_undecided(percent, paired, (len(a), len(b)), margin)
    if min(len(a), len(b)) == 0:
        return comparison
    return _test(comparison, np.round(np.asarray(a), _DIGITS), np.round(np.asarray(b), _DIGITS))


def decide(comparison: Comparison) -> Comparison:
    """Return the comparison with the verdict that its p-values allow."""
    return replace(comparison, verdict=_choose_verdict(comparison))


def _check_arguments(n_a: int, n_b: int, paired: bool, margin: float) -> None:
    if paired and n_a != n_b:
        raise ValueError(f"a paired comparison needs as many processes of a as of b, not {n_a} and {n_b}")
    if not 0 <= margin < math.inf:
        raise ValueError(f"a margin is a share such as 0.02, not {margin}")


def _make_undecided(percent: float, paired: bool, processes: tuple[int, int], margin: float) -> Comparison:
    return Comparison(
        percent=percent,
        paired=paired,
        ratio=Estimate(math.nan, math.nan, math.nan),
        p_value=math.nan,
        p_value_rank=math.nan,
        p_adjusted=math.nan,
        processes=processes,
        smallest_detectable_ratio=math.nan,
        margin=margin,
        verdict="too few processes",
    )


def _test(comparison: Comparison, a: Array, b: Array) -> Comparison:
    difference = float(b.mean() - a.mean())
    margin = math.log1p(comparison.margin)
    # Test against the nearer end of the margin; a difference within the margin becomes zero.
    shift = min(max(difference, -margin), margin)
    shifted = b - shift
    p_value_rank = _compute_rank_p_value(a, shifted, comparison.paired)
    low = high = detectable_ratio = math.nan
    p_value = p_value_rank
    if _has_variance(a, shifted, comparison.paired):
        with warnings.catch_warnings():  # Welch's test needs the variance of one side only; the other may be constant
            warnings.simplefilter("ignore", RuntimeWarning)
            t = (
                scipy.stats.ttest_rel(shifted, a)
                if comparison.paired
                else scipy.stats.ttest_ind(shifted, a, equal_var=False)
            )
        interval = t.confidence_interval(CONFIDENCE)
        low, high, p_value = math.exp(interval.low + shift), math.exp(interval.high + shift), float(t.pvalue)
        t_quantile = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, t.df))
        error = float(interval.high - interval.low) / 2 / t_quantile
        detectable_ratio = math.exp(margin + (t_quantile + float(scipy.stats.t.ppf(POWER, t.df))) * error)
    return decide(
        replace(
            comparison,
            ratio=Estimate(math.exp(difference), low, high),
            p_value=p_value,
            p_value_rank=p_value_rank,
            p_adjusted=p_value,
            smallest_detectable_ratio=detectable_ratio,
        )
    )


def _has_variance(a: Array, b: Array, paired: bool) -> bool:
    """Return True if there are two processes a side and they vary by more than rounding errors."""
    if min(len(a), len(b)) < 2:
        return False
    sides = [b - a] if paired else [a, b]
    return any(float(np.ptp(side)) > 10.0 ** (1 - _DIGITS) for side in sides)


def _compute_rank_p_value(a: Array, b: Array, paired: bool) -> float:
    """Return the p-value of Wilcoxon's signed-rank or Mann and Whitney's U test; ties make it conservative."""
    method = "exact" if max(len(a), len(b)) <= _MAX_EXACT_PROCESSES else "asymptotic"
    if not paired:
        return float(scipy.stats.mannwhitneyu(np.round(b, _DIGITS), np.round(a, _DIGITS), method=method).pvalue)
    differences = np.round(b - a, _DIGITS)
    return float(scipy.stats.wilcoxon(differences, method=method).pvalue) if differences.any() else 1.0


def _compute_smallest_rank_p_value(n_a: int, n_b: int, paired: bool) -> float:
    """Return the p-value when every process of one side is slower, the smallest that the rank test can reach."""
    return 2 / 2**n_a if paired else 2 / math.comb(n_a + n_b, n_a)


def _can_ranks_confirm(comparison: Comparison) -> bool:
    return _compute_smallest_rank_p_value(*comparison.processes, comparison.paired) < ALPHA


def _choose_verdict(comparison: Comparison) -> ComparisonVerdict:
    if min(comparison.processes) < MIN_PROCESSES:
        return "too few processes"
    if comparison.p_adjusted >= ALPHA or (_can_ranks_confirm(comparison) and comparison.p_value_rank >= ALPHA):
        return "no difference shown"
    return "slower" if comparison.ratio.value > 1 else "faster"
