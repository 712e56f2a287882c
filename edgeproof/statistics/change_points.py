"""Steps of a whole series of nights: where the level changes, by binary segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from edgeproof.statistics.estimates import Array

MIN_NIGHTS_PER_SIDE = 3
STEP_ALPHA = 0.01
SMALLEST_STEP = 0.02


@dataclass(frozen=True)
class Step:
    """A step of a series at `index`, its first value after the step, to `ratio` times the level before."""

    index: int
    ratio: float
    p_value: float


def find_steps(series: Sequence[float]) -> list[Step]:
    """Return the steps of a series in order, by binary segmentation (Scott, Knott, Biometrics 30, 1974).

    The night is the unit of replication. Of all indices with at least 3 nights on either side, the one with the
    largest Student's t is a step if its p-value times the number of indices is below 1% (Bonferroni) and the level
    changes by more than 2%. Then both sides are searched in the same way.

    Args:
        series: natural logarithms of durations, one per night.
    """
    return sorted(_find_steps(np.asarray(series, np.float64), 0), key=lambda step: step.index)


def _find_steps(values: Array, offset: int) -> list[Step]:
    n = len(values)
    if n < 2 * MIN_NIGHTS_PER_SIDE:
        return []
    indices = np.arange(MIN_NIGHTS_PER_SIDE, n - MIN_NIGHTS_PER_SIDE + 1)
    sums, squares = np.cumsum(values - values.mean()), np.cumsum((values - values.mean()) ** 2)
    left, right = sums[indices - 1] / indices, (sums[-1] - sums[indices - 1]) / (n - indices)
    residuals = np.maximum(squares[-1] - indices * left**2 - (n - indices) * right**2, 1e-24)
    t = np.abs(right - left) / np.sqrt(residuals / (n - 2) * (1 / indices + 1 / (n - indices)))
    best = int(np.argmax(t))
    p_value = min(1.0, float(2 * stats.t.sf(t[best], n - 2)) * len(indices))
    size = float(right[best] - left[best])
    if p_value >= STEP_ALPHA or abs(size) < math.log1p(SMALLEST_STEP):
        return []
    index = int(indices[best])
    step = Step(offset + index, math.exp(size), p_value)
    return [*_find_steps(values[:index], offset), step, *_find_steps(values[index:], offset + index)]
