"""What changed from night to night: cells that got slower or faster, where a whole series steps, and, night by night as
a series grows, whether it has stepped just now."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from edgeproof.statistics.comparison import ALPHA, FEWEST_PROCESSES, Comparison, compare_logs, corrected

# Two nights differ by more than their processes tell; a step takes as many nights on either side to be seen.
FEWEST_NIGHTS = 3
STEP_ALPHA = 0.01
SMALLEST_STEP = 0.02
ROUNDING = 1e-9

# The alarm: a step of 5% is to be found, and a device may cry wolf once a year at most, all its cells together. The
# threshold is made for a tenth of that, since real noise has longer tails than the formula's (experiments/change_points.py).
WANTED_STEP = math.log(1.05)
DESIGNED_ALARMS_A_YEAR = 0.1
NIGHTS_A_YEAR = 365
# A level and its noise are known from so many nights, the latest left out: a step under way must not hide itself.
FEWEST_BEFORE = 14
LATEST = 5
# One night counts at most as so many deviations: what disturbs a whole night is not a step.
COUNTED_DEVIATIONS = 3.0

Array = np.ndarray[Any, Any]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Step:
    """A series steps at `place`, the first value after it, to `ratio` times what it was before."""

    place: int
    ratio: float
    p_value: float


def between(before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]) -> dict[Key, Comparison]:
    """The cells whose medians two nights' processes may tell apart, given as logarithms of ns.

    Verdicts allow for all the cells of the night: the expected share of false alarms among those shown is 5%
    (Benjamini and Hochberg 1995).
    """
    keys = [key for key in after if key in before and min(len(before[key]), len(after[key])) >= FEWEST_PROCESSES]
    promising = _promising(keys, before, after)
    told = [compare_logs(before[key], after[key], paired=False) for key in promising]
    # One that was not made in full can't be shown, and counts as one of those made together.
    others = [replace(told[0], p_value=1.0)] * (len(keys) - len(told)) if told else []
    found = corrected([*told, *others], method="benjamini-hochberg")
    return dict(zip(promising, found, strict=False))


def _promising(
    keys: Sequence[Key], before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]
) -> list[Key]:
    """The cells that Benjamini and Hochberg's correction leaves of Welch's t tests, all computed at once.

    No other can be shown, nor changes what is said of these: the correction only looks at as many smallest p-values.
    """
    if not keys:
        return []
    a, b = (np.array([_moments(night[key]) for key in keys]).T for night in (before, after))
    errors = a[1] / a[2] + b[1] / b[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (b[0] - a[0]) / np.sqrt(errors)
        freedom = errors**2 / ((a[1] / a[2]) ** 2 / (a[2] - 1) + (b[1] / b[2]) ** 2 / (b[2] - 1))
        p_values = 2 * stats.t.sf(np.abs(t), freedom)
    # Where nothing varies there is no t: the full comparison decides, and may take any place among them.
    p_values = np.where(np.isfinite(p_values), p_values, 0.0)
    shares = np.arange(1, len(keys) + 1) / len(keys)
    left = np.flatnonzero(np.sort(p_values) <= ALPHA * shares * (1 + ROUNDING))
    return [keys[place] for place in np.argsort(p_values, kind="stable")[: left[-1] + 1 if len(left) else 0]]


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


# --- night by night -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A series' level changes at `place`, the first night of the new one, to `ratio` times the old; seen at `found`."""

    place: int
    found: int
    ratio: float


@dataclass(frozen=True)
class Watched:
    """All changes that were seen, night by night, and where the last level began.

    Attributes:
        judged: whether enough nights stand before the last one for it to be judged at all.
    """

    changes: Sequence[Change]
    began: int
    judged: bool


def night_value(logs: Sequence[float]) -> float:
    """A night in one number, from a logarithm a process: their lower quartile.

    What disturbs a process makes it slower and hardly ever faster, by tens of percent at times; the quartile holds
    while a quarter of the processes is in order (Chen and Revels: "Robust benchmarking in noisy environments", 2016,
    whose minimum needs but one that is, and takes the luckiest).
    """
    ordered, place = sorted(logs), (len(logs) - 1) / 4
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def watch(series: Sequence[float], *, cells: int) -> Watched:
    """Follow a series of nights' logarithms as it grows, and say at which night which change was seen.

    Page's CUSUM ("Continuous inspection schemes", Biometrika 41, 1954) for a step of 5%, upwards and downwards:
    S ← max(0, S + (d − k)/s), where d is the night's distance from the level, k half the step and s the noise. The
    level is the median of the nights before the latest five, and d is clipped, as theirs are for s, at 3 deviations
    from it by the median absolute one (in the spirit of Lucas and Crosier: "Robust CUSUM", 1982); s is a third of the
    step at least. Whatever was seen begins a new series, which is silent until it has 14 nights.

    Args:
        series: natural logarithms of durations, one a night, all under the same conditions.
        cells: how many series are followed together: the threshold keeps their false alarms together in bounds.
    """
    values = np.asarray(series, np.float64)
    changes: list[Change] = []
    began = 0
    while (change := _first_change(values, began, cells)) is not None:
        changes.append(change)
        began = change.place
    return Watched(tuple(changes), began, len(values) - began > FEWEST_BEFORE)


def threshold(allowance: float, cells: int) -> float:
    """The sum, in deviations, beyond which a CUSUM with that allowance (k/s) is an alarm.

    The h whose average run length without a change is as long as `cells` series together may last for each false alarm,
    by Siegmund's approximation (exp(2kb) − 2kb − 1)/(2k²) with b = h + 1.166 ("Sequential Analysis", 1985, p. 27).
    """
    return _threshold(round(allowance, 3), cells)


@functools.cache
def _threshold(k: float, cells: int) -> float:
    nights = cells * NIGHTS_A_YEAR / DESIGNED_ALARMS_A_YEAR
    exponent = math.log(2 * k * k * nights + 1)
    for _ in range(50):
        exponent = math.log(2 * k * k * nights + 1 + exponent)
    return exponent / (2 * k) - 1.166


def _first_change(values: Array, began: int, cells: int) -> Change | None:
    sums, since = [0.0, 0.0], [began, began]
    for night in range(began + FEWEST_BEFORE, len(values)):
        before = values[began : max(began + FEWEST_BEFORE, night - LATEST + 1)]
        level = _median(before)
        most, noise = _noise(before - level)
        allowance = WANTED_STEP / 2 / noise
        distance = min(max(float(values[night]) - level, -most), most) / noise
        for side, away in enumerate((distance, -distance)):
            if sums[side] == 0.0:
                since[side] = night
            sums[side] = max(0.0, sums[side] + away - allowance)
            if sums[side] > threshold(allowance, cells):
                size = _median(values[since[side] : night + 1]) - _median(values[began : since[side]])
                return Change(since[side], night, math.exp(size))
    return None


def _noise(distances: Array) -> tuple[float, float]:
    """What one night counts at most, and the standard deviation of nights that count so much at most.

    The first is 3 deviations by the median absolute one, with what that misses in few values (Croux, Rousseeuw 1992).
    """
    n = len(distances)
    typical = 1.4826 * n / (n - 0.8) * _median(np.abs(distances))
    least = WANTED_STEP / COUNTED_DEVIATIONS
    most = COUNTED_DEVIATIONS * max(typical, least)
    clipped = np.minimum(np.maximum(distances, -most), most)
    clipped -= clipped.sum() / n
    return most, max(least, math.sqrt(float(clipped @ clipped) / (n - 1)))


def _median(values: Array) -> float:
    """NumPy's, without its checks, which take longer than all else here."""
    middle = len(values) // 2
    ordered = np.partition(values, (middle - 1, middle) if middle else 0)
    return float(ordered[middle]) if len(values) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2
