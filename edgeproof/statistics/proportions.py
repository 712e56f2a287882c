"""Proportions such as accuracies: Wilson intervals, paired differences and McNemar's test."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from edgeproof.statistics.estimates import NORMAL_QUANTILE, Array, Estimate


def estimate_proportion(count: int, total: int) -> Estimate:
    """Return `count` / `total` with the Wilson score interval.

    The interval holds all p that differ from the observed proportion by at most 1.96 · √(p(1 − p)/n).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    z = NORMAL_QUANTILE
    middle = (2 * count + z**2) / (2 * (total + z**2))
    half_width = z * math.sqrt(4 * count * (1 - count / total) + z**2) / (2 * (total + z**2))
    low = 0.0 if count == 0 else middle - half_width
    high = 1.0 if count == total else middle + half_width
    return Estimate(count / total, low, high)


def estimate_paired_difference(hits: Array, reference: Array) -> Estimate:
    """Return the difference of two accuracies on the same samples.

    d = (b − c)/n with the standard error √(b + c − (b − c)²/n)/n, where b samples are right only in `hits` and c
    samples only in `reference`.

    Source: Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions", 3rd ed., section 13.2.

    Args:
        hits: (N,) bool, samples that the first model gets right.
        reference: (N,) bool, samples that the second model gets right.
    """
    total = len(hits)
    gained, lost = _count_discordant(hits, reference)
    difference = (gained - lost) / total
    error = math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / total)) / total
    half_width = NORMAL_QUANTILE * error
    return Estimate(difference, difference - half_width, difference + half_width)


def compute_mcnemar_p_value(hits: Array, reference: Array) -> float:
    """Return the p-value of the hypothesis that two accuracies on the same samples are equal.

    This is the exact binomial form of McNemar's test, over the samples that only one of the two gets right.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947.
    """
    gained, lost = _count_discordant(hits, reference)
    return float(compute_mcnemar_p_values(np.array([gained]), np.array([lost]))[0])


def compute_mcnemar_p_values(gained: Array, lost: Array) -> Array:
    """Return McNemar's p-values of many pairs at once, (N,).

    Under the hypothesis either side is equally likely, so the two tails are alike: the p-value is twice the smaller
    tail, and 1 where the tails overlap.

    Args:
        gained: (N,) int, samples that only the first of each pair gets right.
        lost: (N,) int, samples that only the second of each pair gets right.
    """
    fewer, total = np.minimum(gained, lost), (gained + lost).astype(np.int64)
    both_tails: Array = np.minimum(1.0, 2 * special.bdtr(fewer, total, 0.5))
    return both_tails


def _count_discordant(hits: Array, reference: Array) -> tuple[int, int]:
    return int((hits & ~reference).sum()), int((~hits & reference).sum())
