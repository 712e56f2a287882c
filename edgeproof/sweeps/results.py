"""What a sweep's points came to: one line an artifact of a finished point, one line for a point that has none."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from edgeproof.config.params import load
from edgeproof.report.rows import Row
from edgeproof.statistics.intervals import Estimate
from edgeproof.sweeps.store import Asked, Point, Store

# Every figure that a sweep may look at, and whether more of it is better.
MORE_IS_BETTER = {
    "accuracy": True,
    "p50_us": False,
    "size_bytes": False,
    "parameters": False,
    "macs": False,
    "peak_rss_bytes": False,
}


@dataclass(frozen=True)
class Line:
    """An artifact of a point, or a point without a result and the reason."""

    point: Point
    status: str
    reason: str = ""
    row: Row | None = None
    models: tuple[tuple[str, str], ...] = ()  # names and sha256, in lineage order
    head: str = ""
    changed: tuple[str, ...] = ()
    front: bool = False

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy of the model made from each of the study's seeds; none where it was refused."""
        if self.row is None or self.row.accuracy is None:
            return ()
        return tuple((self.row.seed_accuracies or {}).values()) or (self.row.accuracy.value,)

    def figure(self, name: str) -> float | None:
        """One of the figures, or None where it was not measured."""
        if self.row is None:
            return None
        if name == "accuracy":
            return fmean(self.accuracies) if self.accuracies else None
        if name == "p50_us":
            return None if self.row.p50_ns is None else self.row.p50_ns.value / 1000
        value: float | None = getattr(self.row, name)
        return value


def of(store: Store) -> list[Line]:
    """Every line of a sweep, in the order of its points, with the Pareto front of each device marked."""
    asked = store.asked()
    found = [line for point in asked.points for line in of_point(store, point)]
    return [group[0] for group in with_front([[line] for line in found], asked)]


def keeps_to(line: Line, limits: Mapping[str, float]) -> bool:
    """Whether a line has every figure that has a limit, on the right side of it."""
    return line.row is not None and all(excess(line, name, limit) <= 0 for name, limit in limits.items())


def excess(line: Line, name: str, limit: float) -> float:
    """By what share of its limit a figure is on the wrong side of it; infinite where it was not measured."""
    value = line.figure(name) if name in MORE_IS_BETTER else limit
    if value is None:
        return math.inf
    return (limit - value if MORE_IS_BETTER.get(name, True) else value - limit) / limit


def of_point(store: Store, point: Point) -> list[Line]:
    outcome = store.outcome(point.digest)
    if outcome is None:
        failure = store.failure(point.digest) or {"reason": "not run yet"}
        return [Line(point, store.status(point.digest), failure["reason"])]
    directory = store.point(point.digest)
    study = load(directory / "params.yaml").report
    told = json.loads((directory / "tables" / "table.json").read_text(encoding="utf-8"))["rows"]
    found = [_row(item) for item in told]
    shown = [row for row in found if row.scheme in study.final.get(row.model, [])]
    shown = shown or [row for row in found if row.model != study.baseline] or found
    models = tuple((name, item["sha256"]) for name, item in outcome["models"].items())
    code = outcome["code"]
    return [
        Line(point, "finished", "; ".join(row.reasons), row, models, code["head"], tuple(code["changed"]))
        for row in shown
    ]


def _row(told: Mapping[str, Any]) -> Row:
    """A row as it was before it became JSON."""
    content: dict[str, Any] = {field.name: told.get(field.name) for field in fields(Row)}
    for name, value in content.items():
        if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
            content[name] = Estimate(**{part: math.nan if x is None else x for part, x in value.items()})
    content["reasons"] = tuple(told["reasons"])
    return Row(**content)


def with_front(groups: Sequence[Sequence[Line]], asked: Asked) -> list[list[Line]]:
    """Mark the lines of each group whose means no other group of its device beats: in one objective, losing in none."""
    useful = [all(keeps_to(line, asked.limits) for line in group) for group in groups]
    # Where nothing keeps to the limits, the front of what there is still says how far away they are.
    eligible = useful if any(useful) else [True] * len(groups)
    costs = [_costs(group, asked.objectives) if ok else None for group, ok in zip(groups, eligible, strict=True)]
    by_device: dict[str | None, list[tuple[float, ...]]] = defaultdict(list)
    for group, cost in zip(groups, costs, strict=True):
        if cost is not None:
            by_device[_device(group)].append(cost)
    return [
        [replace(line, front=cost is not None and not _is_beaten(cost, by_device[_device(group)])) for line in group]
        for group, cost in zip(groups, costs, strict=True)
    ]


def _device(group: Sequence[Line]) -> str | None:
    row = group[0].row
    return None if row is None else row.device


def _costs(group: Sequence[Line], objectives: Sequence[str]) -> tuple[float, ...] | None:
    """A group's mean figures, their signs turned so that less is better; None where one was not measured."""
    means = []
    for name in objectives:
        known = [value for line in group if (value := line.figure(name)) is not None]
        if len(known) < len(group):
            return None
        means.append(-fmean(known) if MORE_IS_BETTER[name] else fmean(known))
    return tuple(means)


def _is_beaten(cost: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    return any(dominates(other, cost) for other in others)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is nowhere more than `other` and somewhere less."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def importance(lines: Sequence[Line], key_values: Sequence[Mapping[str, str]], figure: str) -> dict[str, float]:
    """Share of a figure's variance that each key explains alone: the correlation ratio, its main effect in an ANOVA.

    On a whole grid the shares add up to at most 1; what is missing are interactions.
    """
    observed = [
        (given, value)
        for line, given in zip(lines, key_values, strict=True)
        if (value := line.figure(figure)) is not None
    ]
    values = [value for _, value in observed]
    mean = math.fsum(values) / len(values) if values else 0.0
    total = math.fsum((value - mean) ** 2 for value in values)
    if total == 0:
        return {}
    shares = {}
    for key in dict.fromkeys(key for given, _ in observed for key in given):
        groups: dict[str | None, list[float]] = defaultdict(list)
        for given, value in observed:
            groups[given.get(key)].append(value)
        if len(groups) < 2:
            continue
        between = math.fsum(len(group) * (math.fsum(group) / len(group) - mean) ** 2 for group in groups.values())
        shares[key] = between / total
    return shares
