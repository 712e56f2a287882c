"""Marks of a grid's rows: best values, Pareto fronts, and unlike conditions, each within one device."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.records.conditions import PACKAGES, add_versions, list_differences
from edgeproof.report.figures import FIGURES
from edgeproof.report.row import Row, RowKey
from edgeproof.report.selections import Selection
from edgeproof.statistics.pareto import find_pareto_front

SHOWN_DIFFERENCES = 4


@dataclass(frozen=True)
class Marks:
    """Marks of the rows of a grid.

    Attributes:
        best: the best value of a figure in its unit, by device and figure.
        front: the rows that are Pareto-optimal in `front_figures`.
        unlike: the rows that were measured under other conditions than most, each with the differences.
    """

    best: Mapping[tuple[str, str], float]
    front: frozenset[RowKey]
    front_figures: Sequence[str]
    unlike: Mapping[RowKey, str] = field(default_factory=dict)

    def is_best(self, row: Row, name: str) -> bool:
        """Return whether the row has the best value of a figure on its device."""
        value = FIGURES[name].get_number(row)
        return value is not None and self.best.get((row.device, name)) == value


def find_marks(rows: Sequence[Row], chosen: Selection) -> Marks:
    """Return the marks that the selection asks for. A single row on a device is neither best nor on a front."""
    best: dict[tuple[str, str], float] = {}
    front: set[RowKey] = set()
    unlike: dict[RowKey, str] = {}
    by_device: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_device[row.device].append(row)
    for device, group in by_device.items():
        if chosen.best and len(group) > 1:
            best |= {(device, name): value for name, value in _find_best(group, chosen.figures)}
        if len(chosen.pareto) > 1 and set(chosen.pareto) <= set(chosen.figures) and len(group) > 1:
            front |= find_front(group, chosen.pareto)
        unlike |= describe_unlike_conditions(group)
    return Marks(best, frozenset(front), chosen.pareto, unlike)


def _find_best(rows: Sequence[Row], names: Iterable[str]) -> Iterable[tuple[str, float]]:
    for name in names:
        figure = FIGURES[name]
        values = [value for row in rows if (value := figure.get_number(row)) is not None]
        if figure.better is not None and len(set(values)) > 1:
            yield name, min(values) if figure.better == "less" else max(values)


def find_front(rows: Sequence[Row], names: Sequence[str]) -> set[RowKey]:
    """Return the rows that are Pareto-optimal in the named figures. Rows without one of them are left out.

    A row is not optimal if another one is at least as good in all figures and better in one.
    """
    costs: list[tuple[RowKey, tuple[float, ...]]] = []
    for row in rows:
        values = [FIGURES[name].get_number(row) for name in names]
        if None not in values:
            signs = [1 if FIGURES[name].better == "less" else -1 for name in names]
            costs.append((row.key, tuple(sign * (value or 0.0) for sign, value in zip(signs, values, strict=True))))
    if len(names) == 2:
        return {costs[place][0] for place in find_pareto_front([(cost[0], -cost[1]) for _, cost in costs])}
    return {
        key
        for key, cost in costs
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for _, other in costs)
    }


def describe_unlike_conditions(rows: Sequence[Row]) -> dict[RowKey, str]:
    """Return the rows of one device that were measured under other conditions than most, with the differences.

    Packages are compared among rows of one runtime only, because other runtimes are what a table compares.
    """
    notes: dict[RowKey, str] = {}
    parts = _split_conditions(rows)
    usual = _find_most_common([parts[row.key][0] for row in rows if row.key in parts])
    usual_packages = {
        runtime: _find_most_common([parts[row.key][1] for row in rows if row.key in parts and row.runtime == runtime])
        for runtime in {row.runtime for row in rows}
    }
    for row in rows:
        if row.key not in parts or parts[row.key] == (usual, usual_packages[row.runtime]):
            continue
        conditions, packages = parts[row.key]
        differences = list_differences(
            {**usual, PACKAGES: usual_packages[row.runtime]}, {**conditions, PACKAGES: packages}
        )
        if differences:
            more = len(differences) - SHOWN_DIFFERENCES
            shown = "; ".join(differences[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
            notes[row.key] = f"measured under unlike conditions: {shown}"
    return notes


def _split_conditions(rows: Sequence[Row]) -> dict[RowKey, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the conditions and the packages of every timed row. Most rows share their mappings, and so the results."""
    shared: dict[tuple[int, int], tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    parts = {}
    for row in rows:
        if not row.conditions:
            continue
        identity = id(row.conditions), id(row.versions)
        if identity not in shared:
            conditions = add_versions(row.conditions, row.versions or {})
            packages = conditions.pop(PACKAGES)
            shared[identity] = conditions, packages
        parts[row.key] = shared[identity]
    return parts


def _find_most_common(mappings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    by_identity = {id(each): each for each in mappings}
    texts = {identity: json.dumps(each, sort_keys=True) for identity, each in by_identity.items()}
    counts = Counter(texts[id(each)] for each in mappings)
    common: Mapping[str, Any] = json.loads(counts.most_common(1)[0][0]) if counts else {}
    return common
