"""Comparison of two nights: which of many cells got slower or faster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy import stats

from edgeproof.statistics.comparison import ALPHA, MIN_PROCESSES, Comparison, compare_logs
from edgeproof.statistics.multiple_comparisons import adjust_p_values

ROUNDING_ERROR = 1e-9

Key = TypeVar("Key")


def compare_nights(
    before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]
) -> dict[Key, Comparison]:
    """Compare two nights and return the cells that may differ, with verdicts for all cells together.

    Verdicts are adjusted by Benjamini and Hochberg's method (1995): at most 5% of the differences shown are expected
    to be false alarms. Cells that are not returned show no difference.

    Args:
        before, after: for each cell the natural logarithms of its processes' medians in ns.
    """
    keys = [key for key in after if key in before and min(len(before[key]), len(after[key])) >= MIN_PROCESSES]
    promising = _select_promising(keys, before, after)
    comparisons = [compare_logs(before[key], after[key], paired=False) for key in promising]
    # Cells that were not selected can't be shown, but count as comparisons made at the same time.
    others = [replace(comparisons[0], p_value=1.0)] * (len(keys) - len(comparisons)) if comparisons else []
    adjusted = adjust_p_values([*comparisons, *others], method="benjamini-hochberg")
    return dict(zip(promising, adjusted, strict=False))


def _select_promising(
    keys: Sequence[Key], before: Mapping[Key, Sequence[float]], after: Mapping[Key, Sequence[float]]
) -> list[Key]:
    """Return the cells that Benjamini and Hochberg's method keeps of Welch's t tests, all computed at once.

    The full comparison is slow, and the method never shows another cell, because it depends on the smallest p-values.
    """
    if not keys:
        return []
    a, b = (np.array([_compute_moments(night[key]) for key in keys]).T for night in (before, after))
    squared_errors = a[1] / a[2] + b[1] / b[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (b[0] - a[0]) / np.sqrt(squared_errors)
        degrees = squared_errors**2 / ((a[1] / a[2]) ** 2 / (a[2] - 1) + (b[1] / b[2]) ** 2 / (b[2] - 1))
        p_values = 2 * stats.t.sf(np.abs(t), degrees)
    # Where nothing varies, t is undefined and the full comparison decides.
    p_values = np.where(np.isfinite(p_values), p_values, 0.0)
    shares = np.arange(1, len(keys) + 1) / len(keys)
    rejected = np.flatnonzero(np.sort(p_values) <= ALPHA * shares * (1 + ROUNDING_ERROR))
    count = rejected[-1] + 1 if len(rejected) else 0
    return [keys[index] for index in np.argsort(p_values, kind="stable")[:count]]


def _compute_moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Return the mean, the variance and the number of values."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1), len(values)
