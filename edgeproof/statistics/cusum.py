"""Change points of a growing series of nights, by CUSUM: has the level changed by tonight?"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeproof.statistics.estimates import Array

# The alarm must detect a step of 5%, and raise at most one false alarm a year for all cells of a device together. The
# threshold is computed for a tenth of that rate, because real noise has longer tails than the formula assumes
# (experiments/change_points.py).
TARGET_STEP_LOG = math.log(1.05)
DESIGNED_ALARMS_A_YEAR = 0.1
NIGHTS_A_YEAR = 365
# The level and the noise are computed from at least this many nights. The latest nights are excluded, so that a step
# in progress does not hide itself.
MIN_BASELINE_NIGHTS = 14
EXCLUDED_LATEST_NIGHTS = 5
# The distance of one night is limited to this many deviations: a night that was disturbed as a whole is not a step.
MAX_DEVIATIONS = 3.0


@dataclass(frozen=True)
class Change:
    """A change of a series' level.

    Attributes:
        index: the first night of the new level.
        detected: the night on which the change was detected, an index too.
        ratio: the new level, divided by the old one.
    """

    index: int
    detected: int
    ratio: float


@dataclass(frozen=True)
class MonitoredSeries:
    """All changes that were detected night by night.

    Attributes:
        changes: in the order of their detection.
        level_start: index of the first night of the last level.
        has_baseline: True if enough nights precede the last one for it to be judged.
    """

    changes: Sequence[Change]
    level_start: int
    has_baseline: bool


def summarize_night(logs: Sequence[float]) -> float:
    """Return the lower quartile of a night's logarithms, one per process, interpolated linearly.

    Disturbances make a process slower by up to tens of percent, and almost never faster. The quartile is stable while
    a quarter of the processes is undisturbed. Chen and Revels ("Robust benchmarking in noisy environments", 2016) use
    the minimum, which needs one undisturbed process only but depends on the luckiest one.
    """
    ordered, position = sorted(logs), (len(logs) - 1) / 4
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def monitor_series(series: Sequence[float], *, cells: int) -> MonitoredSeries:
    """Follow a series of nights as it grows and return every change with the night of its detection.

    Page's CUSUM ("Continuous inspection schemes", Biometrika 41, 1954) for a step of 5%, upwards and downwards:
    S ← max(0, S + (d − k)/s), where d is the night's distance from the level, k half the step and s the noise.

    - The level is the median of the nights before the latest five.
    - d is limited to 3 robust deviations, computed from the median absolute deviation (similar to Lucas, Crosier,
      "Robust CUSUM", Communications in Statistics 11, 1982).
    - s is the deviation of the limited distances before, and at least a third of the step.
    - After a change a new series begins. Its first 14 nights only set the level; the 15th is the first one judged.

    Args:
        series: natural logarithms of durations, one per night, all measured under the same conditions.
        cells: number of series that are monitored together. The threshold limits the false alarms of all of them.
    """
    values = np.asarray(series, np.float64)
    changes: list[Change] = []
    start = 0
    while (change := _find_first_change(values, start, cells)) is not None:
        changes.append(change)
        start = change.index
    return MonitoredSeries(tuple(changes), start, len(values) - start > MIN_BASELINE_NIGHTS)


def compute_threshold(allowance: float, cells: int) -> float:
    """Return the sum, in deviations, above which a CUSUM with this allowance (k/s) raises an alarm.

    It is the h for which the average run length without a change equals the time that `cells` series together may run
    for each false alarm. By Siegmund's approximation this length is (exp(2kb) − 2kb − 1)/(2k²) with b = h + 1.166
    (Siegmund, "Sequential Analysis", 1985, p. 27).
    """
    return _compute_threshold(round(allowance, 3), cells)


@functools.cache
def _compute_threshold(k: float, cells: int) -> float:
    nights = cells * NIGHTS_A_YEAR / DESIGNED_ALARMS_A_YEAR
    exponent = math.log(2 * k * k * nights + 1)
    for _ in range(50):
        exponent = math.log(2 * k * k * nights + 1 + exponent)
    return exponent / (2 * k) - 1.166


def _find_first_change(values: Array, start: int, cells: int) -> Change | None:
    sums, change_indices = [0.0, 0.0], [start, start]
    for night in range(start + MIN_BASELINE_NIGHTS, len(values)):
        before = values[start : max(start + MIN_BASELINE_NIGHTS, night - EXCLUDED_LATEST_NIGHTS + 1)]
        level = _compute_median(before)
        limit, noise = _compute_noise(before - level)
        allowance = TARGET_STEP_LOG / 2 / noise
        distance = min(max(float(values[night]) - level, -limit), limit) / noise
        for side, signed_distance in enumerate((distance, -distance)):
            if sums[side] == 0.0:
                change_indices[side] = night
            sums[side] = max(0.0, sums[side] + signed_distance - allowance)
            if sums[side] > compute_threshold(allowance, cells):
                index = change_indices[side]
                size = _compute_median(values[index : night + 1]) - _compute_median(values[start:index])
                return Change(index, night, math.exp(size))
    return None


def _compute_noise(distances: Array) -> tuple[float, float]:
    """Return the limit of a night's distance, and the standard deviation of distances that are limited so.

    The limit is 3 deviations by the median absolute deviation, with its correction for small samples (Croux,
    Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale", 1992).
    """
    n = len(distances)
    robust_deviation = 1.4826 * n / (n - 0.8) * _compute_median(np.abs(distances))
    min_noise = TARGET_STEP_LOG / MAX_DEVIATIONS
    limit = MAX_DEVIATIONS * max(robust_deviation, min_noise)
    clipped = np.minimum(np.maximum(distances, -limit), limit)
    clipped -= clipped.sum() / n
    return limit, max(min_noise, math.sqrt(float(clipped @ clipped) / (n - 1)))


def _compute_median(values: Array) -> float:
    """Return NumPy's median without its checks, which would take most of the time here."""
    middle = len(values) // 2
    ordered = np.partition(values, (middle - 1, middle) if middle else 0)
    return float(ordered[middle]) if len(values) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2
