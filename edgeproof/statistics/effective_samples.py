"""Serial dependence of durations: the effective sample size.

Neighbouring inferences of a process are similar, so they carry less information than independent ones.
"""

from __future__ import annotations

import math

import numpy as np

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
