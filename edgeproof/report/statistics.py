"""Intervals for what the table shows. Everything is computed from raw values, on read.

The process is the unit of replication: calls within one process share its memory layout and its moment, so the
interval of a latency comes from several processes where there are several. Calls within one process resemble their
neighbours too: what such an interval stands on is the number of independent calls that theirs are worth.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
_SURPRISE = 0.01  # how seldom MLPerf's early stopping may be wrong about a percentile
_BATCHES = 20  # Schmeiser: "Batch size effects in the analysis of simulation output" (1982): 10 to 30


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Spread:
    """Relative standard deviations of a percentile: 0.02 is 2%.

    `between` is what processes differ by, as observed; `within` is what they would differ by if each were as good as
    the other, from the calls within them alone. Where `between` is much greater, more calls a process gain nothing.
    """

    between: float
    within: float


@functools.cache
def needed(percent: float) -> int:
    """The fewest samples from which a percentile may be told: 11 for p50, 64 for p90, 662 for p99, 6636 for p99.9.

    It is the smallest n with P(Binomial(n, 1 − p) ≤ 1) ≤ 1%: of so many samples two or more lie beyond the percentile,
    or a 1% surprise has happened. That is the rule of MLPerf's early stopping ("MLPerf inference rules", appendix on
    early stopping) with one sample beyond the percentile set aside. Below p50 the scarce side is the lower one.
    """
    if not 0 < percent < 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")
    beyond = min(percent, 100 - percent) / 100

    def told(n: int) -> bool:
        return math.exp((n - 1) * math.log1p(-beyond)) * (1 + (n - 1) * beyond) <= _SURPRISE

    return 1 + bisect.bisect_left(range(1, 2**62), True, key=told)


def percentile(processes: Sequence[Array], percent: float) -> Estimate | None:
    """A percentile of positive durations over several processes, or None where a process has too few.

    The value is the geometric mean of the processes' percentiles. Its interval is Student's t over their logarithms,
    never narrower than the order-statistic interval within the processes; with one process it is the latter alone.
    Durations are given in the order in which they were measured: the interval within allows for their correlation.
    """
    logs = log_percentiles(processes, percent)
    if logs is None:
        return None
    value = float(np.exp(logs.mean()))
    low, high = np.exp(_log_intervals(processes, percent).mean(axis=0))
    if len(logs) > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
        low, high = min(low, value * math.exp(-half)), max(high, value * math.exp(half))
    return Estimate(value, min(float(low), value), max(float(high), value))


def log_percentiles(processes: Sequence[Array], percent: float) -> Array | None:
    """Natural logarithms of a percentile of positive durations, one a process; None where a process has too few."""
    if not processes or any(len(durations) < needed(percent) for durations in processes):
        return None
    return np.log([np.percentile(durations, percent) for durations in processes])


def spread(processes: Sequence[Array], percent: float) -> Spread | None:
    """How a percentile varies between and within processes; None with fewer than two or where one has too few calls.

    Between is the standard deviation of the percentiles' logarithms. Within is the root mean square of the processes'
    standard errors, each the width of its order-statistic interval on the logarithmic scale over 2 · 1.96.
    """
    logs = log_percentiles(processes, percent)
    if logs is None or len(logs) < 2:
        return None
    widths = np.diff(_log_intervals(processes, percent), axis=1)
    errors = widths / (2 * stats.norm.ppf((1 + CONFIDENCE) / 2))
    return Spread(between=float(logs.std(ddof=1)), within=float(np.sqrt(np.mean(errors**2))))


def effective_samples(durations: Array, share: float) -> float:
    """How many independent samples tell a quantile as well as these do, which resemble their neighbours.

    A quantile's error in a stationary sequence is that of the share of samples below it (Heidelberger, Lewis:
    "Quantile estimation in dependent sequences", Operations Research 32, 1984). The variance of that share is taken
    from overlapping batch means (Meketon, Schmeiser: "Overlapping batch means: something for nothing?", 1984) of the
    sign of x − quantile, and set against what independent samples would have; the sign gives ties their due. It is
    known from few batches, whence Student's t over them instead of the normal distribution.

    Never more than there are. √n batches up to 20: correlation over longer than a batch stays unseen, and a process
    that steps from one speed to another counts as about so many samples, not as the one that it is.

    Args:
        durations: in the order in which they were measured, in any unit.
        share: of the samples below the quantile: 0.5 for the median.
    """
    n = len(durations)
    count = min(_BATCHES, math.isqrt(n))
    if count < 2:
        return float(n)
    length = n // count
    quantile = np.quantile(durations, share)
    signs = (durations > quantile).astype(np.int8) - (durations < quantile).astype(np.int8)
    sums = np.concatenate(([0], np.cumsum(signs, dtype=np.int64)))
    average = sums[-1] / n
    independent = float(np.count_nonzero(signs)) / n - average**2
    batches = (sums[length:] - sums[:-length]) / length - average
    dependent = float(batches @ batches) * length * n / ((n - length) * (n - length + 1))
    if independent <= 0 or dependent <= 0:
        return float(n)
    # Overlapping batches tell as much as half as many more that don't overlap.
    quantiles = stats.norm.ppf((1 + CONFIDENCE) / 2), stats.t.ppf((1 + CONFIDENCE) / 2, 1.5 * (count - 1))
    worth = n * independent / dependent * float(quantiles[0] / quantiles[1]) ** 2
    return float(min(max(worth, 1.0), n))


def autocorrelation(durations: Array, lag: int = 1) -> float:
    """Serial rank correlation: Spearman's, of every duration and the one `lag` calls later; 0 where none can be told.

    Ranks, since latencies have heavy tails: in products of durations one interrupted call drowns all others.
    """
    return float(_autocorrelations(durations, [lag])[0])


def independence(durations: Array, lags: int = 10) -> float:
    """The p-value of the hypothesis that durations are independent of the `lags` before them; 1 where none can be told.

    n(n + 2) Σ ρ²/(n − k) over the lags k is distributed as χ² (Ljung, Box: "On a measure of lack of fit in time series
    models", 1978), of ranks so that no moment need exist (Dufour, Roy: "Generalized portmanteau statistics and tests
    of randomness", 1986). With millions of durations it finds dependence of no consequence: `effective_samples` says
    what dependence costs.
    """
    n, chosen = len(durations), np.arange(1, min(lags, len(durations) - 1) + 1)
    if not len(chosen):
        return 1.0
    statistic = n * (n + 2) * np.sum(_autocorrelations(durations, chosen) ** 2 / (n - chosen))
    return float(stats.chi2.sf(statistic, len(chosen)))


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean of positive values, one a process, with Student's t interval; None without values."""
    if not values:
        return None
    average = float(np.mean(values))
    if len(values) == 1:
        return Estimate(average, math.nan, math.nan)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Estimate(average, average - half, average + half)


def proportion(count: int, total: int) -> Estimate:
    """A share with Wilson's score interval (1927)."""
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / total, float(interval.low), float(interval.high))


def paired_difference(hits: Array, reference: Array) -> Estimate:
    """Difference of two accuracies on the same samples, from the samples on which the two disagree.

    d = (b − c)/n with standard error √(b + c − (b − c)²/n)/n, b and c being the samples only one gets right
    (Fleiss, Levin, Paik: "Statistical Methods for Rates and Proportions", 3rd ed., section 13.2).
    """
    total = len(hits)
    gained, lost = int((hits & ~reference).sum()), int((~hits & reference).sum())
    difference = (gained - lost) / total
    error = math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / total)) / total
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Estimate(difference, difference - half, difference + half)


def ratio(numerator: Estimate, denominator: Estimate) -> Estimate:
    """A ratio of two independent positive estimates; intervals are combined on the logarithmic scale."""
    value = numerator.value / denominator.value
    up = math.hypot(math.log(numerator.high / numerator.value), math.log(denominator.value / denominator.low))
    down = math.hypot(math.log(numerator.value / numerator.low), math.log(denominator.high / denominator.value))
    return Estimate(value, value * math.exp(-down), value * math.exp(up))


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats: least first coordinate, greatest second, in order of the first."""
    best, front = -math.inf, []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front


def _log_intervals(processes: Sequence[Array], percent: float) -> Array:
    """Logarithms of the order-statistic interval, one row a process."""
    return np.log([_order_statistics(durations, percent / 100) for durations in processes])


def _order_statistics(durations: Array, share: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile: binomial ranks (David, Nagaraja: "Order Statistics", section 7.1).

    The ranks are those among as many independent samples as these are worth, scaled to these.
    """
    ordered = np.sort(durations)
    n, worth = len(ordered), math.floor(effective_samples(durations, share))
    ranks = stats.binom.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], worth, share)
    low, high = math.floor(ranks[0] * n / worth) - 1, math.ceil(ranks[1] * n / worth)
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])


def _autocorrelations(durations: Array, lags: Sequence[int] | Array) -> Array:
    ranks = stats.rankdata(durations)
    ranks -= (len(ranks) + 1) / 2
    whole = float(ranks @ ranks)
    if whole == 0:
        return np.zeros(len(lags))
    return np.array([float(ranks[lag:] @ ranks[:-lag]) / whole if lag < len(ranks) else 0.0 for lag in lags])


def mcnemar(hits: Array, reference: Array) -> float:
    """The p-value that two accuracies on the same samples are equal: exact binomial test of the samples that only one
    gets right (McNemar, "Note on the sampling error of the difference between correlated proportions", 1947)."""
    gained, lost = int((hits & ~reference).sum()), int((~hits & reference).sum())
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
