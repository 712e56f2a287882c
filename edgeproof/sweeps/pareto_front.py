"""Mark the result rows on the Pareto front of a sweep's objectives, and compare rows with the sweep's limits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from edgeproof.statistics.metric import Metric
from edgeproof.sweeps.points import SweepRequest
from edgeproof.sweeps.results import FIGURE_NAMES, ResultRow, is_more_better, read_rows
from edgeproof.sweeps.store import SweepStore


def read_marked_rows(store: SweepStore) -> list[ResultRow]:
    """Return all rows of a sweep in the order of its points, with the Pareto front marked."""
    groups = [[row] for row in read_rows(store)]
    return [group[0] for group in mark_pareto_front(groups, store.read_request())]


def mark_pareto_front(groups: Sequence[Sequence[ResultRow]], request: SweepRequest) -> list[list[ResultRow]]:
    """Return the groups with the rows of each device's Pareto front marked.

    A group, such as the seeds of one configuration, is compared by its mean figures. It is on the front if no other
    group of its device and metric dominates it. Groups outside the limits are not compared, unless all of them are
    outside: then the front shows how far away the limits are.
    """
    are_within = [all(is_within_limits(row, request.limits) for row in group) for group in groups]
    are_eligible = are_within if any(are_within) else [True] * len(groups)
    costs = [
        _compute_costs(group, request.objectives) if is_eligible else None
        for group, is_eligible in zip(groups, are_eligible, strict=True)
    ]
    by_device: dict[tuple[str | None, Metric | None], list[tuple[float, ...]]] = defaultdict(list)
    for group, cost in zip(groups, costs, strict=True):
        if cost is not None:
            by_device[_get_comparison(group)].append(cost)
    marked = []
    for group, cost in zip(groups, costs, strict=True):
        others = by_device[_get_comparison(group)]
        is_on_front = cost is not None and not any(dominates(other, cost) for other in others)
        marked.append([replace(row, on_pareto_front=is_on_front) for row in group])
    return marked


def is_within_limits(row: ResultRow, limits: Mapping[str, float]) -> bool:
    """Return whether a row has every limited figure and none of them exceeds its limit."""
    return row.table_row is not None and all(compute_excess(row, name, limit) <= 0 for name, limit in limits.items())


def compute_excess(row: ResultRow, name: str, limit: float) -> float:
    """Return by which share of its limit a figure exceeds it: negative within the limit, infinite if not measured."""
    value = row.get_figure(name) if name in FIGURE_NAMES else limit
    if value is None:
        return math.inf
    return (limit - value if is_more_better(name, row.metric) else value - limit) / limit


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether the costs `one` are nowhere greater than `other` and somewhere smaller."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _compute_costs(group: Sequence[ResultRow], objectives: Sequence[str]) -> tuple[float, ...] | None:
    """Return a group's mean figures, negated where more is better, or None if one was not measured."""
    means = []
    for name in objectives:
        values = [value for row in group if (value := row.get_figure(name)) is not None]
        if len(values) < len(group):
            return None
        means.append(-fmean(values) if is_more_better(name, group[0].metric) else fmean(values))
    return tuple(means)


def _get_comparison(group: Sequence[ResultRow]) -> tuple[str | None, Metric | None]:
    """Return what groups must share to be compared: the device, and the metric of their qualities."""
    row = group[0].table_row
    return (None, None) if row is None else (row.device, row.metric)
