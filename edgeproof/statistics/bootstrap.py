"""Bootstrap intervals of a quality that is computed from many units together, such as mAP, AUC or F1.

The units are resampled with replacement, and the interval is that of the percentiles of the resampled qualities.
The seed is fixed, so the same evidence always gives the same interval.

Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 15 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from edgeproof.core.errors import DataError
from edgeproof.statistics.estimates import CONFIDENCE, Array, Estimate
from edgeproof.statistics.metric import Compute, Evidence, count_units, select_units

RESAMPLES = 1000
SEED = 0
# A resample may lack what the metric needs, such as a positive sample. If more than this share of them does, the
# interval would describe another population.
MAX_UNDEFINED_SHARE = 0.5
_QUANTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two qualities on the same units, and the p-value of the hypothesis that there is none."""

    estimate: Estimate
    p_value: float


def estimate_quality(compute: Compute, evidence: Evidence, *, resamples: int = RESAMPLES) -> Estimate:
    """Return the quality of some evidence with its 95% bootstrap interval.

    Raises DataError if the quality is undefined for the evidence or for most of its resamples.
    """
    value = compute(evidence)
    return _build_estimate(value, _drop_undefined(resample_quality(compute, evidence, resamples=resamples)))


def resample_quality(compute: Compute, evidence: Evidence, *, resamples: int = RESAMPLES) -> Array:
    """Return the quality of each resample, (resamples,) float; NaN where it is undefined.

    Evidence with as many units is resampled at the same rows, so that qualities of the same units are paired.
    """
    rows = _draw_rows(count_units(evidence), resamples)
    return np.array([_try_compute(compute, evidence, row) for row in rows])


def compare_resampled(difference: float, resampled: Array, reference: Array) -> PairedDifference:
    """Return a difference of two qualities with its interval and p-value from their resamples at the same rows.

    Raises DataError if most resamples are undefined.
    """
    differences = _drop_undefined(resampled - reference)
    deviation = float(np.std(differences, ddof=1))
    if deviation > 0:
        p_value = float(2 * special.ndtr(-abs(difference) / deviation))
    else:
        p_value = 1.0 if difference == 0 else 0.0
    return PairedDifference(_build_estimate(difference, differences), p_value)


def _draw_rows(total: int, resamples: int) -> Iterator[Array]:
    random = np.random.default_rng(SEED)
    for _ in range(resamples):
        yield random.integers(0, total, total)


def _try_compute(compute: Compute, evidence: Evidence, rows: Array) -> float:
    """Return the quality of a resample, or NaN where it is undefined."""
    try:
        return compute(select_units(evidence, rows))
    except DataError:
        return math.nan


def _drop_undefined(values: Array) -> Array:
    defined: Array = values[~np.isnan(values)]
    if len(defined) < (1 - MAX_UNDEFINED_SHARE) * len(values):
        raise DataError(
            f"no interval: the metric is undefined in {len(values) - len(defined)} of {len(values)} resamples, because "
            "the samples of one kind are too few"
        )
    return defined


def _build_estimate(value: float, resampled: Array) -> Estimate:
    # The quantile p of B values is their p(B + 1)-th in order, so that the interval is not too narrow for small B.
    low, high = np.quantile(resampled, _QUANTILES, method="weibull")
    return Estimate(value, float(low), float(high))
