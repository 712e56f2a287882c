"""Adjustment of p-values for comparisons that are made together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import scipy  # scipy.stats takes a second to load, so it is loaded when it is first used

from edgeproof.statistics.comparison import Comparison, decide
from edgeproof.statistics.estimates import Array

Adjustment = Literal["holm", "benjamini-hochberg"]


def adjust_p_values(comparisons: Sequence[Comparison], *, method: Adjustment = "holm") -> list[Comparison]:
    """Return the comparisons with adjusted p-values, and with the verdicts that these allow.

    - 'holm' keeps the probability of any false alarm among them at 5% (Holm, "A simple sequentially rejective multiple
      test procedure", Scandinavian Journal of Statistics 6, 1979).
    - 'benjamini-hochberg' keeps the expected share of false alarms among the differences shown at 5% (Benjamini,
      Hochberg, "Controlling the false discovery rate", JRSS B 57, 1995).

    Comparisons of too few processes are not counted, because they can't raise an alarm. The rank test is not adjusted:
    ten processes could never reach a hundredth of 5%, and the adjusted t test alone keeps the error rate.
    """
    counted = [comparison for comparison in comparisons if comparison.verdict != "too few processes"]
    p_values = [comparison.p_value for comparison in counted]
    if not counted:
        return list(comparisons)
    adjusted = _adjust_by_holm(p_values) if method == "holm" else scipy.stats.false_discovery_control(p_values)
    remaining = iter(adjusted)
    return [
        comparison
        if comparison.verdict == "too few processes"
        else decide(replace(comparison, p_adjusted=next(remaining)))
        for comparison in comparisons
    ]


def _adjust_by_holm(p_values: Sequence[float]) -> Array:
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
