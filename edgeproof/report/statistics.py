"""Intervals for what the table shows. Everything is computed from raw values, on read.

The process is the unit of replication: calls within one process share its memory layout and its moment, so the
interval of a latency comes from several processes where there are several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
# MLPerf's early stopping needs this many queries before it says anything about a percentile.
NEEDED = {50: 11, 90: 64, 99: 662}


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def percentile(processes: Sequence[Array], percent: int) -> Estimate | None:
    """A percentile of positive durations over several processes, or None where a process has too few.

    The value is the geometric mean of the processes' percentiles. Its interval is Student's t over their logarithms,
    never narrower than the order-statistic interval within the processes; with one process it is the latter alone.
    """
    if not processes or any(len(durations) < NEEDED[percent] for durations in processes):
        return None
    logs = np.log([np.percentile(durations, percent) for durations in processes])
    value = float(np.exp(logs.mean()))
    within = [_order_statistics(durations, percent / 100) for durations in processes]
    low = math.exp(float(np.mean([math.log(a) for a, _ in within])))
    high = math.exp(float(np.mean([math.log(b) for _, b in within])))
    if len(logs) > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
        low, high = min(low, value * math.exp(-half)), max(high, value * math.exp(half))
    return Estimate(value, min(low, value), max(high, value))


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


def _order_statistics(durations: Array, share: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile: binomial ranks (David, Nagaraja: "Order Statistics", section 7.1)."""
    ordered = np.sort(durations)
    last = len(ordered) - 1
    low = int(np.clip(stats.binom.ppf((1 - CONFIDENCE) / 2, len(ordered), share) - 1, 0, last))
    high = int(np.clip(stats.binom.ppf((1 + CONFIDENCE) / 2, len(ordered), share), 0, last))
    return float(ordered[low]), float(ordered[high])
