"""Marks of a grid's rows: best values and fronts among all rows of a device, and unlike conditions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.records.conditions import PACKAGES, add_versions, list_differences
from edgeproof.report.figures import FIGURES, choose_figure
from edgeproof.report.fronts import find_front
from edgeproof.report.row import Row, RowKey
from edgeproof.report.selections import Selection

SHOWN_DIFFERENCES = 4


@dataclass(frozen=True)
class Marks:
    """Marks of the rows of a grid.

    Attributes:
        best: the best value of a figure in its unit, by device and figure.
        front: the rows that no other one on their device beats in `front_figures`.
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


class DeviceRanking:
    """Best values and fronts among all measured rows of each device. Each of them is computed once.

    Marks come from here, so they do not depend on the rows that a table shows.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._by_device: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.npu is None:  # an estimate is never compared with measured figures
                self._by_device[row.device].append(row)
        self._best: dict[tuple[str, str], float | None] = {}
        self._fronts: dict[tuple[str, ...], frozenset[RowKey]] = {}

    def get_best(self, device: str, name: str) -> float | None:
        """Return the best value of a figure in its unit, or None if values do not compare or are all equal."""
        if (device, name) not in self._best:
            rows = self._by_device[device]
            figure = choose_figure(name, rows)
            values = {value for row in rows if (value := figure.get_number(row)) is not None}
            best = None
            is_comparable = not figure.is_relative and not figure.names_metric
            if figure.better is not None and is_comparable and len(values) > 1:
                best = min(values) if figure.better == "less" else max(values)
            self._best[device, name] = best
        return self._best[device, name]

    def get_front(self, device: str, names: Sequence[str]) -> frozenset[RowKey]:
        """Return the rows of a device on the front of the named figures."""
        key = (device, *names)
        if key not in self._fronts:
            self._fronts[key] = frozenset(find_front(self._by_device[device], names))
        return self._fronts[key]


def find_marks(rows: Sequence[Row], chosen: Selection, ranking: DeviceRanking) -> Marks:
    """Return the marks of `rows` that the selection asks for.

    Best values and fronts come from the ranking. Conditions are compared among `rows`, which a reader compares.
    """
    best: dict[tuple[str, str], float] = {}
    front: set[RowKey] = set()
    unlike: dict[RowKey, str] = {}
    by_device: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_device[row.device].append(row)
    for device, group in by_device.items():
        for name in chosen.figures if chosen.best else ():
            value = ranking.get_best(device, name)
            if value is not None:
                best[device, name] = value
        if len(chosen.pareto) > 1 and set(chosen.pareto) <= set(chosen.figures):
            front |= ranking.get_front(device, chosen.pareto)
        unlike |= describe_unlike_conditions(group)
    return Marks(best, frozenset(front), chosen.pareto, unlike)


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
