"""Percentiles of latencies, within one process and over several.

The process is the unit of replication. All inferences of a process share its memory layout and run at the same time,
so the interval of a latency comes from several processes if there are several. Within a process, neighbouring
inferences are correlated, so its interval is based on the effective sample size.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy  # scipy.stats takes a second to load, so it is loaded when it is first used

from edgeproof.statistics.effective_samples import estimate_effective_samples
from edgeproof.statistics.estimates import (
    CONFIDENCE,
    NORMAL_QUANTILE,
    Array,
    Estimate,
    compute_deviation,
    compute_mean,
    compute_t_quantile,
)

# The probability that MLPerf's early stopping accepts a percentile that the samples do not support.
_EARLY_STOPPING_ERROR = 0.01


class LogPercentile(NamedTuple):
    """A percentile of one process with its order-statistic interval, as natural logarithms."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """Relative standard deviations of a percentile; 0.02 is 2%.

    Attributes:
        between: observed deviation between processes.
        within: deviation that the inferences within the processes explain. Where `between` is much greater, longer
            processes don't make the result more precise; more processes do.
    """

    between: float
    within: float


@functools.cache
def count_required_samples(percent: float) -> int:
    """Return the fewest samples that support a percentile: 11 for p50, 64 for p90, 662 for p99, 6636 for p99.9.

    This is the smallest n with P(Binomial(n, 1 − p) ≤ 1) ≤ 1%: the chance that fewer than two samples lie beyond the
    percentile is at most 1%. It is the rule of MLPerf's early stopping ("MLPerf inference rules", appendix on early
    stopping) with one sample beyond the percentile discarded. For a percentile below p50 the rule counts the samples
    below it.

    Raises ValueError for a percentile outside 0 to 100.
    """
    if not 0 < percent < 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")
    beyond = min(percent, 100 - percent) / 100

    def is_enough(n: int) -> bool:
        probability = math.exp((n - 1) * math.log1p(-beyond)) * (1 + (n - 1) * beyond)
        return probability <= _EARLY_STOPPING_ERROR

    return 1 + bisect.bisect_left(range(1, 2**62), True, key=is_enough)


def combine_processes(processes: Sequence[LogPercentile | None]) -> Estimate | None:
    """Return the percentile over several processes, or None without processes or if one of them is None.

    The value is the geometric mean of the processes' percentiles. Its interval is Student's t over their logarithms,
    but never narrower than the mean order-statistic interval within the processes. With one process it is that
    process's order-statistic interval.
    """
    known = [process for process in processes if process is not None]
    if not known or len(known) < len(processes):
        return None
    logs = [process.value for process in known]
    value = math.exp(compute_mean(logs))
    low = math.exp(compute_mean([process.low for process in known]))
    high = math.exp(compute_mean([process.high for process in known]))
    if len(known) > 1:
        half_width = compute_t_quantile(len(known) - 1) * compute_deviation(logs) / math.sqrt(len(known))
        low, high = min(low, value * math.exp(-half_width)), max(high, value * math.exp(half_width))
    return Estimate(value, min(low, value), max(high, value))


def estimate_log_percentile(durations: Array, percent: float) -> LogPercentile | None:
    """Return a percentile of one process's positive durations, or None if they are too few."""
    if len(durations) < count_required_samples(percent):
        return None
    low, high = _compute_order_statistics(durations, percent / 100)
    return LogPercentile(_log(float(np.percentile(durations, percent))), _log(low), _log(high))


def compute_log_percentiles(processes: Sequence[Array], percent: float) -> Array | None:
    """Return the natural logarithm of each process's percentile, (processes,), or None if a process has too few."""
    if not processes or any(len(durations) < count_required_samples(percent) for durations in processes):
        return None
    return np.log([np.percentile(durations, percent) for durations in processes])


def measure_spread(processes: Sequence[LogPercentile | None]) -> Spread | None:
    """Return how a percentile varies between and within processes, or None with fewer than two or if one is None.

    `between` is the standard deviation of the percentiles' logarithms. `within` is the root mean square of the
    processes' standard errors, each the width of the order-statistic interval on the logarithmic scale / (2 · 1.96).
    """
    known = [process for process in processes if process is not None]
    if len(known) < max(2, len(processes)):
        return None
    errors = [(process.high - process.low) / (2 * NORMAL_QUANTILE) for process in known]
    return Spread(
        between=compute_deviation([process.value for process in known]),
        within=math.sqrt(compute_mean([error**2 for error in errors])),
    )


def _log(value: float) -> float:
    """Return the logarithm, or −∞ for 0, which a coarse clock reports for a short inference."""
    return math.log(value) if value > 0 else -math.inf


def _compute_order_statistics(durations: Array, share: float) -> tuple[float, float]:
    """Return the distribution-free interval of a quantile by binomial ranks.

    The ranks are computed for the effective sample size, then scaled to the number of samples.

    Source: David, Nagaraja, "Order Statistics", 3rd ed., section 7.1.
    """
    ordered = np.sort(durations)
    n, effective = len(ordered), math.floor(estimate_effective_samples(durations, share))
    ranks = scipy.stats.binom.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], effective, share)
    low, high = math.floor(ranks[0] * n / effective) - 1, math.ceil(ranks[1] * n / effective)
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])
