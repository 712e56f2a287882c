"""Serial dependence of durations: effective sample size, autocorrelation, and a test of independence.

Neighbouring inferences of a process are similar, so they carry less information than independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy  # scipy.stats takes a second to load, so it is loaded when it is first used
from scipy import special

from edgeproof.statistics.estimates import NORMAL_QUANTILE, Array, compute_t_quantile

# 10 to 30 batches: Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 30, 1982.
_MAX_BATCHES = 20


def estimate_effective_samples(durations: Array, share: float) -> float:
    """Return the effective sample size for a quantile: the number of independent samples with the same precision.

    The result lies between 1 and the number of samples.

    The error of a quantile in a stationary sequence is that of the share of samples below it (Heidelberger, Lewis,
    "Quantile estimation in dependent sequences", Operations Research 32, 1984). The variance of that share is
    estimated by overlapping batch means (Meketon, Schmeiser, "Overlapping batch means: something for nothing?",
    Winter Simulation Conference 1984) of sign(x − quantile), which counts ties correctly, and divided by the variance
    of independent samples. It rests on few batches, so Student's t is used instead of the normal distribution.

    There are √n batches, at most 20. Correlation over more than a batch stays undetected: a process that steps from
    one speed to another has an effective size of about 20, although it is a single observation.

    Args:
        durations: (N,) in the order in which they were measured, in any unit.
        share: the quantile, 0.5 for the median.
    """
    n = len(durations)
    batch_count = min(_MAX_BATCHES, math.isqrt(n))
    if batch_count < 2:
        return float(n)
    length = n // batch_count
    quantile = np.quantile(durations, share)
    signs = (durations > quantile).astype(np.int8) - (durations < quantile).astype(np.int8)
    sums = np.concatenate(([0], np.cumsum(signs, dtype=np.int64)))
    mean = sums[-1] / n
    independent_variance = float(np.count_nonzero(signs)) / n - mean**2
    batches = (sums[length:] - sums[:-length]) / length - mean
    variance = float(batches @ batches) * length * n / ((n - length) * (n - length + 1))
    if independent_variance <= 0 or variance <= 0:
        return float(n)
    # Overlapping batches have the precision of 1.5 times the number of separate batches.
    t_quantile = compute_t_quantile(1.5 * (batch_count - 1))
    effective = n * independent_variance / variance * (NORMAL_QUANTILE / t_quantile) ** 2
    return float(min(max(effective, 1.0), n))


def compute_autocorrelation(durations: Array, lag: int = 1) -> float:
    """Return Spearman's rank correlation of each duration and the one `lag` inferences later; 0 for constant ones.

    Ranks are used because latencies have heavy tails: in products of durations a single interrupted inference would
    hide all others.
    """
    return float(_compute_autocorrelations(durations, [lag])[0])


def compute_independence_p_value(durations: Array, lags: int = 10) -> float:
    """Return the p-value of the hypothesis that durations do not depend on the `lags` before them; 1 for constant ones.

    n(n + 2) · Σ ρ²/(n − k) over the lags k has a χ² distribution (Ljung, Box, "On a measure of lack of fit in time
    series models", Biometrika 65, 1978). Ranks are used so that no moment has to exist (Dufour, Roy, "Generalized
    portmanteau statistics and tests of randomness", Communications in Statistics 15, 1986).

    With millions of durations the test detects dependence that does not matter. `estimate_effective_samples` returns
    the cost of dependence.
    """
    n, chosen = len(durations), np.arange(1, min(lags, len(durations) - 1) + 1)
    if not len(chosen):
        return 1.0
    statistic = n * (n + 2) * np.sum(_compute_autocorrelations(durations, chosen) ** 2 / (n - chosen))
    return float(special.chdtrc(len(chosen), statistic))


def _compute_autocorrelations(durations: Array, lags: Sequence[int] | Array) -> Array:
    ranks = scipy.stats.rankdata(durations)
    ranks -= (len(ranks) + 1) / 2
    total = float(ranks @ ranks)
    if total == 0:
        return np.zeros(len(lags))
    return np.array([float(ranks[lag:] @ ranks[:-lag]) / total if lag < len(ranks) else 0.0 for lag in lags])
