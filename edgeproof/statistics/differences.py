"""The difference of two independent estimates."""

from __future__ import annotations

import math

from edgeproof.statistics.estimates import Estimate


def subtract_estimates(a: Estimate, b: Estimate) -> Estimate:
    """Return a − b of two independent estimates.

    The distances from the values to the ends of their intervals are added in quadrature, as for a Pareto front
    (pareto.py). An interval that is unknown (NaN) makes an unknown interval.

    Source: Zou and Donner, "Construction of confidence limits about effect measures: a general approach", Statistics in
    Medicine 27, 2008.
    """
    difference = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(difference, difference - below, difference + above)
