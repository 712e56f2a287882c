"""Estimates: a value with its 95% interval, means of several values, and ratios of two estimates."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
# The 97.5% quantile of the standard normal distribution, 1.96.
NORMAL_QUANTILE = float(special.ndtri((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float

    def scale(self, factor: float) -> Estimate:
        """Return the same estimate in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def estimate_mean(values: Sequence[float]) -> Estimate | None:
    """Return the mean of several values with Student's t interval, or None without values.

    With one value the interval is NaN.
    """
    if not values:
        return None
    mean = compute_mean(values)
    if len(values) == 1:
        return Estimate(mean, math.nan, math.nan)
    half_width = compute_t_quantile(len(values) - 1) * compute_deviation(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half_width, mean + half_width)


def divide_estimates(numerator: Estimate, denominator: Estimate) -> Estimate:
    """Return the ratio of two independent positive estimates.

    The half-widths of the two intervals are added in quadrature on the logarithmic scale.
    """
    value = numerator.value / denominator.value
    up = math.hypot(math.log(numerator.high / numerator.value), math.log(denominator.value / denominator.low))
    down = math.hypot(math.log(numerator.value / numerator.low), math.log(denominator.high / denominator.value))
    return Estimate(value, value * math.exp(-down), value * math.exp(up))


def compute_mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return math.fsum(values) / len(values)


def compute_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample (n − 1 in the denominator)."""
    mean = compute_mean(values)
    return math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1))


@functools.cache
def compute_t_quantile(degrees_of_freedom: float) -> float:
    """Return the 97.5% quantile of Student's t: 95% of the distribution lies between its negative and itself."""
    return float(special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
