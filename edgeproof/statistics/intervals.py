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
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are loaded when they are first used: tables don't need stats, which takes a second
from scipy import special

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
_Z = float(special.ndtri((1 + CONFIDENCE) / 2))
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


class LogPercentile(NamedTuple):
    """One process's percentile and its order-statistic interval, natural logarithms."""

    value: float
    low: float
    high: float


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

    Durations are given in the order in which they were measured: the interval within allows for their correlation.
    """
    return combined([log_percentile(durations, percent) for durations in processes])


def combined(processes: Sequence[LogPercentile | None]) -> Estimate | None:
    """What several processes tell of a percentile; None without processes, or where one of them is None.

    The value is the geometric mean of the processes' percentiles. Its interval is Student's t over their logarithms,
    never narrower than the order-statistic interval within the processes; with one process it is the latter alone.
    """
    known = [process for process in processes if process is not None]
    if not known or len(known) < len(processes):
        return None
    logs = [process.value for process in known]
    value = math.exp(_average(logs))
    low = math.exp(_average([process.low for process in known]))
    high = math.exp(_average([process.high for process in known]))
    if len(known) > 1:
        half = _t(len(known) - 1) * _deviation(logs) / math.sqrt(len(known))
        low, high = min(low, value * math.exp(-half)), max(high, value * math.exp(half))
    return Estimate(value, min(low, value), max(high, value))


def log_percentile(durations: Array, percent: float) -> LogPercentile | None:
    """A percentile of one process's positive durations, or None where they are too few for it."""
    if len(durations) < needed(percent):
        return None
    low, high = _order_statistics(durations, percent / 100)
    return LogPercentile(_log(float(np.percentile(durations, percent))), _log(low), _log(high))


def log_percentiles(processes: Sequence[Array], percent: float) -> Array | None:
    """Natural logarithms of a percentile of positive durations, one a process; None where a process has too few."""
    if not processes or any(len(durations) < needed(percent) for durations in processes):
        return None
    return np.log([np.percentile(durations, percent) for durations in processes])


def spread(processes: Sequence[LogPercentile | None]) -> Spread | None:
    """How a percentile varies between and within processes; None with fewer than two or where one has too few calls.

    Between is the standard deviation of the percentiles' logarithms. Within is the root mean square of the processes'
    standard errors, each the width of its order-statistic interval on the logarithmic scale over 2 · 1.96.
    """
    known = [process for process in processes if process is not None]
    if len(known) < max(2, len(processes)):
        return None
    errors = [(process.high - process.low) / (2 * _Z) for process in known]
    return Spread(
        between=_deviation([process.value for process in known]),
        within=math.sqrt(_average([error**2 for error in errors])),
    )


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
    worth = n * independent / dependent * (_Z / _t(1.5 * (count - 1))) ** 2
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
    return float(special.chdtrc(len(chosen), statistic))


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean of positive values, one a process, with Student's t interval; None without values."""
    if not values:
        return None
    average = _average(values)
    if len(values) == 1:
        return Estimate(average, math.nan, math.nan)
    half = _t(len(values) - 1) * _deviation(values) / math.sqrt(len(values))
    return Estimate(average, average - half, average + half)


def proportion(count: int, total: int) -> Estimate:
    """A share with Wilson's score interval ("Probable inference, the law of succession, and statistical inference",
    1927): the shares p that differ from the observed one by 1.96 of their own standard errors √(p(1 − p)/n)."""
    middle = (2 * count + _Z**2) / (2 * (total + _Z**2))
    half = _Z * math.sqrt(4 * count * (1 - count / total) + _Z**2) / (2 * (total + _Z**2))
    return Estimate(count / total, 0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half)


def paired_difference(hits: Array, reference: Array) -> Estimate:
    """Difference of two accuracies on the same samples, from the samples on which the two disagree.

    d = (b − c)/n with standard error √(b + c − (b − c)²/n)/n, b and c being the samples only one gets right
    (Fleiss, Levin, Paik: "Statistical Methods for Rates and Proportions", 3rd ed., section 13.2).
    """
    total = len(hits)
    gained, lost = int((hits & ~reference).sum()), int((~hits & reference).sum())
    difference = (gained - lost) / total
    error = math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / total)) / total
    half = _Z * error
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


@functools.cache
def _t(freedom: float) -> float:
    """Student's t that 95% lie within."""
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _log(value: float) -> float:
    """The logarithm; of what a coarse clock took for no time at all, the limit."""
    return math.log(value) if value > 0 else -math.inf


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample."""
    average = _average(values)
    return math.sqrt(math.fsum([(value - average) ** 2 for value in values]) / (len(values) - 1))


def _order_statistics(durations: Array, share: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile: binomial ranks (David, Nagaraja: "Order Statistics", section 7.1).

    The ranks are those among as many independent samples as these are worth, scaled to these.
    """
    ordered = np.sort(durations)
    n, worth = len(ordered), math.floor(effective_samples(durations, share))
    ranks = scipy.stats.binom.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], worth, share)
    low, high = math.floor(ranks[0] * n / worth) - 1, math.ceil(ranks[1] * n / worth)
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])


def _autocorrelations(durations: Array, lags: Sequence[int] | Array) -> Array:
    ranks = scipy.stats.rankdata(durations)
    ranks -= (len(ranks) + 1) / 2
    whole = float(ranks @ ranks)
    if whole == 0:
        return np.zeros(len(lags))
    return np.array([float(ranks[lag:] @ ranks[:-lag]) / whole if lag < len(ranks) else 0.0 for lag in lags])


def mcnemar(hits: Array, reference: Array) -> float:
    """The p-value that two accuracies on the same samples are equal: exact binomial test of the samples that only one
    gets right (McNemar, "Note on the sampling error of the difference between correlated proportions", 1947)."""
    gained, lost = int((hits & ~reference).sum()), int((~hits & reference).sum())
    return float(mcnemars(np.array([gained]), np.array([lost]))[0])


def mcnemars(gained: Array, lost: Array) -> Array:
    """The same for many pairs at once, from how many samples only the one and only the other gets right, (N,) each.

    With as many chances either way, the two tails are alike: twice the smaller one's, and 1 where they overlap.
    """
    fewer, total = np.minimum(gained, lost), (gained + lost).astype(np.int64)
    both_tails: Array = np.minimum(1.0, 2 * special.bdtr(fewer, total, 0.5))
    return both_tails
