"""Mark the result rows on the Pareto front of a sweep's objectives, and compare rows with the sweep's limits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgeproof.statistics import pareto
from edgeproof.statistics.estimates import Estimate, estimate_mean
from edgeproof.statistics.metric import Metric
from edgeproof.sweeps.points import SweepRequest
from edgeproof.sweeps.results import FIGURE_NAMES, ResultRow, is_more_better, read_rows
from edgeproof.sweeps.store import SweepStore


def read_marked_rows(store: SweepStore) -> list[ResultRow]:
    """Return all rows of a sweep in the order of its points, with the Pareto front marked."""
    groups = [[row] for row in read_rows(store)]
    return [group[0] for group in mark_pareto_front(groups, store.read_request())]


def mark_pareto_front(groups: Sequence[Sequence[ResultRow]], request: SweepRequest) -> list[list[ResultRow]]:
    """Return the groups with the rows of each device's Pareto front marked, as `statistics.pareto` defines it.

    A group, such as the seeds of one configuration, is compared by its mean figures and their 95% intervals. Groups of
    another device or metric are not compared. Groups outside the limits are not compared either, unless all of them
    are outside: then the front shows how far away the limits are.
    """
    are_within = [all(is_within_limits(row, request.limits) for row in group) for group in groups]
    are_eligible = are_within if any(are_within) else [True] * len(groups)
    comparable: dict[tuple[str | None, Metric | None], list[int]] = defaultdict(list)
    for number, (group, is_eligible) in enumerate(zip(groups, are_eligible, strict=True)):
        if is_eligible and all(_has_figures(row, request.objectives) for row in group):
            comparable[_get_comparison(group)].append(number)
    front: set[int] = set()
    for numbers in comparable.values():
        members = [groups[number] for number in numbers]
        objectives = [_make_objective(members, name) for name in request.objectives]
        front |= {numbers[index] for index in pareto.find_front(objectives)}
    return [[replace(row, on_pareto_front=number in front) for row in group] for number, group in enumerate(groups)]


def is_within_limits(row: ResultRow, limits: Mapping[str, float]) -> bool:
    """Return whether a row has every limited figure and none of them exceeds its limit."""
    return row.table_row is not None and all(compute_excess(row, name, limit) <= 0 for name, limit in limits.items())


def compute_excess(row: ResultRow, name: str, limit: float) -> float:
    """Return by which share of its limit a figure exceeds it: negative within the limit, infinite if not measured."""
    value = row.get_figure(name) if name in FIGURE_NAMES else limit
    if value is None:
        return math.inf
    return (limit - value if is_more_better(name, row.metric) else value - limit) / limit


def _has_figures(row: ResultRow, objectives: Sequence[str]) -> bool:
    return all(row.get_figure(name) is not None for name in objectives)


def _make_objective(groups: Sequence[Sequence[ResultRow]], name: str) -> pareto.Objective:
    """Return a figure of all groups as a cost: negated where more is better."""
    estimates = [_estimate_figure(group, name) for group in groups]
    values, lows, highs = np.array([(each.value, each.low, each.high) for each in estimates]).T
    if is_more_better(name, groups[0][0].metric):
        values, lows, highs = -values, -highs, -lows
    return pareto.Objective(values, values - lows, highs - values)


def _estimate_figure(group: Sequence[ResultRow], name: str) -> Estimate:
    """Return the estimate of a single row, or the mean of several rows with Student's t interval."""
    if len(group) == 1:
        estimate = group[0].get_estimate(name)
        assert estimate is not None
        return estimate
    mean = estimate_mean([value for row in group if (value := row.get_figure(name)) is not None])
    assert mean is not None
    return mean


def _get_comparison(group: Sequence[ResultRow]) -> tuple[str | None, Metric | None]:
    """Return what groups must share to be compared: the device, and the metric of their qualities."""
    row = group[0].table_row
    return (None, None) if row is None else (row.device, row.metric)
