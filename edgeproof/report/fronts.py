"""Find the Pareto front of a device: the rows that are not beaten beyond the intervals of some figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeproof.report.figure import Figure
from edgeproof.report.figures import FIGURES, choose_figure, list_metrics
from edgeproof.report.row import Row, RowKey
from edgeproof.statistics import pareto
from edgeproof.statistics.estimates import Estimate


def find_front(rows: Sequence[Row], names: Sequence[str]) -> set[RowKey]:
    """Return the rows of one device on the front of the named figures, as `statistics.pareto` defines it.

    Rows without one of the figures are left out. Quality is compared by its paired difference where a row has one to
    the other row, which is then its reference. Qualities of different metrics do not compare, so the rows of each
    metric have a front of their own.
    """
    complete = [row for row in rows if all(FIGURES[name].get_number(row) is not None for name in names)]
    if any(FIGURES[name].is_quality for name in names):
        groups = [[row for row in complete if row.metric == metric] for metric in list_metrics(complete)]
    else:
        groups = [complete]
    return {key for group in groups if group for key in _find_front_keys(group, names)}


def _find_front_keys(rows: Sequence[Row], names: Sequence[str]) -> set[RowKey]:
    front = pareto.find_front([_make_objective(rows, choose_figure(name, rows)) for name in names])
    return {rows[index].key for index in front}


def _make_objective(rows: Sequence[Row], figure: Figure) -> pareto.Objective:
    bounds = np.array([_get_bounds(row, figure) for row in rows])
    costs, lows, highs = bounds.T if figure.better == "less" else -bounds[:, [0, 2, 1]].T
    paired = _list_paired_differences(rows, figure) if figure.name == "quality" else {}
    return pareto.Objective(costs, costs - lows, highs - costs, paired)


def _get_bounds(row: Row, figure: Figure) -> tuple[float, float, float]:
    """Return the value and the ends of its interval: the value itself if it is exact, infinite if unknown."""
    value, interval = figure.get_number(row) or 0.0, figure.get_interval(row)
    if interval is not None:
        return value, *interval
    width = np.inf if isinstance(figure.get_value(row), Estimate) else 0.0
    return value, value - width, value + width


def _list_paired_differences(rows: Sequence[Row], figure: Figure) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the intervals of the quality differences between rows and their references, as costs, by index."""
    places = {row.key: index for index, row in enumerate(rows)}
    paired = {}
    for index, row in enumerate(rows):
        if row.reference is None or row.quality_difference is None:
            continue
        reference = places.get(RowKey(row.device, row.runtime, *row.reference))
        if reference is not None:
            low, high = row.quality_difference.low, row.quality_difference.high
            paired[index, reference] = (low, high) if figure.better == "less" else (-high, -low)
    return paired
