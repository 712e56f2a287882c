"""Find the Pareto front of a device: the rows that are not beaten beyond the intervals of some figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeproof.report.figures import FIGURES, Figure
from edgeproof.report.row import Row, RowKey
from edgeproof.statistics import pareto
from edgeproof.statistics.estimates import Estimate


def find_front(rows: Sequence[Row], names: Sequence[str]) -> set[RowKey]:
    """Return the rows of one device on the front of the named figures, as `statistics.pareto` defines it.

    Rows without one of the figures are left out. Accuracy is compared by its paired difference where a row has one to
    the other row, which is then its reference.
    """
    complete = [row for row in rows if all(FIGURES[name].get_number(row) is not None for name in names)]
    if not complete:
        return set()
    front = pareto.find_front([_make_objective(complete, FIGURES[name]) for name in names])
    return {complete[index].key for index in front}


def _make_objective(rows: Sequence[Row], figure: Figure) -> pareto.Objective:
    bounds = np.array([_get_bounds(row, figure) for row in rows])
    costs, lows, highs = bounds.T if figure.better == "less" else -bounds[:, [0, 2, 1]].T
    paired = _list_paired_differences(rows) if figure.name == "accuracy" else {}
    return pareto.Objective(costs, costs - lows, highs - costs, paired)


def _get_bounds(row: Row, figure: Figure) -> tuple[float, float, float]:
    """Return the value and the ends of its interval: the value itself if it is exact, infinite if unknown."""
    value, interval = figure.get_number(row) or 0.0, figure.get_interval(row)
    if interval is not None:
        return value, *interval
    width = np.inf if isinstance(figure.get_value(row), Estimate) else 0.0
    return value, value - width, value + width


def _list_paired_differences(rows: Sequence[Row]) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the intervals of the accuracy differences between rows and their references, as costs, by index."""
    places = {row.key: index for index, row in enumerate(rows)}
    paired = {}
    for index, row in enumerate(rows):
        if row.reference is None or row.accuracy_difference is None:
            continue
        reference = places.get((row.device, row.runtime, *row.reference))
        if reference is not None:
            paired[index, reference] = -row.accuracy_difference.high, -row.accuracy_difference.low
    return paired
