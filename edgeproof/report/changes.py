"""What changed from night to night: cells that got slower or faster, and where a series of nights steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from .comparison import ALPHA, FEWEST_PROCESSES, Comparison, compare_logs, corrected

# Two nights differ by more than their processes tell; a step takes as many nights on either side to be seen.
FEWEST_NIGHTS = 3
STEP_ALPHA = 0.01
SMALLEST_STEP = 0.02

Array = np.ndarray[Any, Any]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Step:
    """A series steps at `place`, the first value after it, to `ratio` times what it was before."""

    place: int
    ratio: float
    p_value: float


def between(before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]) -> dict[Key, Comparison]:
    """The cells whose medians two nights' processes tell apart before any correction, given as logarithms of ns.

    Verdicts allow for all the cells of the night: the expected share of false alarms among those shown is 5%
    (Benjamini and Hochberg 1995).
    """
    keys = [key for key in after if key in before and min(len(before[key]), len(after[key])) >= FEWEST_PROCESSES]
    promising = _promising(keys, before, after)
    told = [compare_logs(before[key], after[key], paired=False) for key in promising]
    # One that was not made in full has a p-value above 5%: it can't be shown, and counts as one of those made together.
    others = [replace(told[0], p_value=1.0)] * (len(keys) - len(told)) if told else []
    found = corrected([*told, *others], method="benjamini-hochberg")
    return dict(zip(promising, found, strict=False))


def _promising(
    keys: Sequence[Key], before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]
) -> list[Key]:
    """The cells whose Welch's t test alone has a p-value below 5%, all of them computed at once."""
    if not keys:
        return []
    a, b = (np.array([_moments(night[key]) for key in keys]).T for night in (before, after))
    errors = a[1] / a[2] + b[1] / b[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (b[0] - a[0]) / np.sqrt(errors)
        freedom = errors**2 / ((a[1] / a[2]) ** 2 / (a[2] - 1) + (b[1] / b[2]) ** 2 / (b[2] - 1))
        p_values = 2 * stats.t.sf(np.abs(t), freedom)
    # Where nothing varies there is no t; the full comparison decides.
    unsure = ~np.isfinite(p_values)
    return [key for key, p_value, odd in zip(keys, p_values, unsure, strict=True) if odd or p_value < ALPHA]


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    average = math.fsum(values) / len(values)
    return average, math.fsum((value - average) ** 2 for value in values) / (len(values) - 1), len(values)


def steps(series: Sequence[float]) -> list[Step]:
    """Where a series of nights' mean logarithms steps, by binary segmentation (Scott and Knott 1974).

    The night is the unit of replication. Of all places with 3 nights on either side, that with the greatest Student's t
    is a step when its p-value times the number of places is below 1% and the ratio beyond 2%; then each side is
    searched for more.
    """
    found = _steps(np.asarray(series, np.float64), 0)
    return sorted(found, key=lambda step: step.place)


def _steps(values: Array, offset: int) -> list[Step]:
    n = len(values)
    if n < 2 * FEWEST_NIGHTS:
        return []
    places = np.arange(FEWEST_NIGHTS, n - FEWEST_NIGHTS + 1)
    sums, squares = np.cumsum(values - values.mean()), np.cumsum((values - values.mean()) ** 2)
    left, right = sums[places - 1] / places, (sums[-1] - sums[places - 1]) / (n - places)
    rest = np.maximum(squares[-1] - places * left**2 - (n - places) * right**2, 1e-24)
    t = np.abs(right - left) / np.sqrt(rest / (n - 2) * (1 / places + 1 / (n - places)))
    best = int(np.argmax(t))
    p_value = min(1.0, float(2 * stats.t.sf(t[best], n - 2)) * len(places))
    size = float(right[best] - left[best])
    if p_value >= STEP_ALPHA or abs(size) < math.log1p(SMALLEST_STEP):
        return []
    place = int(places[best])
    step = Step(offset + place, math.exp(size), p_value)
    return [*_steps(values[:place], offset), step, *_steps(values[place:], offset + place)]
