"""A table before it has a format: headings, cells with their marks, and notes. Every format shows the same grid."""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.records import record_files
from edgeproof.records.summaries import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.report.figures import FIGURES
from edgeproof.report.row import Row
from edgeproof.report.selections import PARTS, Selection
from edgeproof.statistics.comparison import list_differences
from edgeproof.statistics.pareto import find_pareto_front

REFUSED = {"invalid": "refused", "unsupported": "unsupported", "error": "failed"}
SHOWN_DIFFERENCES = 4
# What a run of a scenario is called in a reason, where the study names it as conf/scenarios does.
NAMES = {
    record_files.ACCURACY: "accuracy",
    SINGLE_STREAM: "single_stream",
    MULTI_STREAM: "multi_stream",
    OFFLINE: "offline",
    SERVER: "server",
}
INTERVALS = (
    "Brackets are 95% intervals: Wilson's for accuracy, paired for its difference, Student's t over processes for "
    "latency, never narrower than the order statistics within them."
)


@dataclass(frozen=True)
class TableCell:
    """One cell: a value as text with its interval, or the word for why there is none; and the numbers of its notes."""

    value: str = ""
    interval: str = ""
    refused: str = ""
    best: bool = False
    pareto: bool = False
    notes: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing was measured, rather than refused."""
        return not self.value and not self.refused


@dataclass(frozen=True)
class Heading:
    """A column's heading and, where columns stand side by side, what they are of."""

    text: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Grid:
    """A table: the first `stubs` columns say what a line is of. Notes are counted from 1. `data` is one line a row."""

    title: str
    stubs: int
    headings: Sequence[Heading]
    lines: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = ()
    captions: Sequence[str] = ()
    data: Sequence[Mapping[str, Any]] = field(default_factory=list)


def build_grid(rows: Sequence[Row], chosen: Selection) -> Grid:
    """Lay the chosen rows out. Raises EdgeproofError where two rows would share a place."""
    found = [row for row in rows if _is_chosen(row, chosen)]
    marks = _Marks(found, chosen)
    notes = _Notes()
    lines, groups = _placed(found, chosen)
    stubs = [Heading(part, numeric=False) for part in chosen.rows]
    headings = [
        Heading(FIGURES[name].title, " ".join(group), FIGURES[name].better is not None or FIGURES[name].scale != 1)
        for group in groups
        for name in chosen.shown
    ]
    cells = [
        [TableCell(part) for part in line]
        + [_cell(places.get(group), name, marks, notes) for group in groups for name in chosen.shown]
        for line, places in lines.items()
    ]
    captions = [INTERVALS] if any(cell.interval for line in cells for cell in line) else []
    captions += marks.captions(cells)
    data = [_datum(row, chosen, marks) for places in lines.values() for row in places.values()]
    return Grid(chosen.title, len(stubs), [*stubs, *headings], cells, notes.texts, captions, data)


def _is_chosen(row: Row, chosen: Selection) -> bool:
    if row.npu is not None:  # an estimate never stands beside what was measured
        return False
    lists = {part: getattr(chosen, f"{part}s") for part in PARTS}
    if any(names is not None and getattr(row, part) not in names for part, names in lists.items()):
        return False
    return chosen.artifacts is None or f"{row.model} {row.scheme}" in chosen.artifacts


Place = tuple[str, ...]


def _placed(rows: Sequence[Row], chosen: Selection) -> tuple[dict[Place, dict[Place, Row]], list[Place]]:
    """Lines, each with its rows by what stands side by side; and these groups in the rows' order."""
    lines: dict[Place, dict[Place, Row]] = defaultdict(dict)
    for row in _sorted(rows, chosen):
        line = tuple(str(getattr(row, part)) for part in chosen.rows)
        group = tuple(str(getattr(row, part)) for part in chosen.across)
        if group in lines[line]:
            missing = [part for part in PARTS if part not in (*chosen.rows, *chosen.across)]
            other = lines[line][group]
            raise EdgeproofError(
                f"the report's lines and columns don't tell {' '.join(row.key)} from {' '.join(other.key)}. "
                f"Add {' or '.join(missing)} to rows or across, or choose fewer."
            )
        lines[line][group] = row
    groups = dict.fromkeys(tuple(str(getattr(row, part)) for part in chosen.across) for row in rows)
    return lines, list(groups) or [()]


def _sorted(rows: Sequence[Row], chosen: Selection) -> list[Row]:
    """By what was asked for, the last key first since sorting is stable; what has no value comes last."""
    ordered = list(rows)
    for name in reversed(chosen.sort):
        falling, key = name.startswith("-"), name.removeprefix("-")
        if key in PARTS:
            place = {value: n for n, value in enumerate(dict.fromkeys(getattr(row, key) for row in rows))}
            ordered.sort(key=lambda row, key=key, place=place: place[getattr(row, key)], reverse=falling)  # type: ignore[misc]
            continue
        figure = FIGURES[key]
        known = [row for row in ordered if figure.number(row) is not None]
        unknown = [row for row in ordered if figure.number(row) is None]
        ordered = [*sorted(known, key=lambda row: figure.number(row) or 0.0, reverse=falling), *unknown]
    return ordered


class _Marks:
    """Which values are the best of their figure on their device, which rows no other beats, which were unlike."""

    def __init__(self, rows: Sequence[Row], chosen: Selection) -> None:
        self._best: dict[tuple[str, str], float] = {}
        self._front: set[tuple[str, str, str, str]] = set()
        self._unlike: dict[tuple[str, str, str, str], str] = {}
        self._pareto = chosen.pareto
        by_device: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_device[row.device].append(row)
        for device, mine in by_device.items():
            if chosen.best and len(mine) > 1:
                self._find_best(device, mine, chosen.shown)
            if len(chosen.pareto) > 1 and set(chosen.pareto) <= set(chosen.shown) and len(mine) > 1:
                self._front |= find_front(mine, chosen.pareto)
            self._unlike |= describe_unlike_conditions(mine)

    def _find_best(self, device: str, rows: Sequence[Row], shown: Iterable[str]) -> None:
        for name in shown:
            figure = FIGURES[name]
            values = [value for row in rows if (value := figure.number(row)) is not None]
            if figure.better is not None and len(set(values)) > 1:
                self._best[device, name] = min(values) if figure.better == "less" else max(values)

    def best(self, row: Row, name: str) -> bool:
        value = FIGURES[name].number(row)
        return value is not None and self._best.get((row.device, name)) == value

    def pareto(self, row: Row, name: str | None = None) -> bool:
        return row.key in self._front and (name is None or name == self._pareto[0])

    def unlike(self, row: Row) -> str | None:
        return self._unlike.get(row.key)

    def captions(self, cells: Sequence[Sequence[TableCell]]) -> list[str]:
        told = []
        if any(cell.best for line in cells for cell in line):
            told.append("Bold: the best value of its figure on its device.")
        if any(cell.pareto for line in cells for cell in line):
            of = " and ".join(FIGURES[name].heading for name in self._pareto)
            told.append(f"◆: Pareto-optimal, no other artifact on its device is better in {of}.")
        return told


class _Notes:
    """Notes by their text, numbered as they are first needed."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers) + 1)


def find_front(rows: Sequence[Row], names: Sequence[str]) -> set[tuple[str, str, str, str]]:
    """The rows that no other equals or beats in all figures and beats in one; rows without any of them left out."""
    known = []
    for row in rows:
        values = [FIGURES[name].number(row) for name in names]
        if None not in values:
            signs = [1 if FIGURES[name].better == "less" else -1 for name in names]
            known.append((row, tuple(sign * (value or 0.0) for sign, value in zip(signs, values, strict=True))))
    if len(names) == 2:
        return {known[place][0].key for place in find_pareto_front([(of[0], -of[1]) for _, of in known])}
    return {
        row.key
        for row, of in known
        if not any(other != of and all(a <= b for a, b in zip(other, of, strict=True)) for _, other in known)
    }


def describe_unlike_conditions(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], str]:
    """Rows of one device that were measured under other conditions than most, with what differs.

    Versions are compared among rows of one runtime alone, since another runtime is what is compared.
    """
    told: dict[tuple[str, str, str, str], str] = {}
    timed = [row for row in rows if row.conditions]
    usual = _most_common([row.conditions or {} for row in timed])
    versions = {
        runtime: _most_common([row.versions or {} for row in timed if row.runtime == runtime])
        for runtime in {row.runtime for row in timed}
    }
    for row in timed:
        if (row.conditions, row.versions) == (usual, versions[row.runtime]):
            continue
        differences = list_differences(usual, row.conditions or {}) + list_differences(versions[row.runtime], row.versions or {})
        if differences:
            more = len(differences) - SHOWN_DIFFERENCES
            shown = "; ".join(differences[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
            told[row.key] = f"measured under unlike conditions: {shown}"
    return told


def _most_common(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    counted = Counter(json.dumps(conditions, sort_keys=True) for conditions in found)
    common: Mapping[str, Any] = json.loads(counted.most_common(1)[0][0]) if counted else {}
    return common


def _cell(row: Row | None, name: str, marks: _Marks, notes: _Notes) -> TableCell:
    if row is None:
        return TableCell()
    value, interval = FIGURES[name].texts(row)
    if not value:
        why = explain_missing(row, name)
        return TableCell(refused=REFUSED.get(row.verdict, ""), notes=(notes.number(why),)) if why else TableCell()
    note = marks.unlike(row) if FIGURES[name].scenario not in (None, record_files.ACCURACY) else None
    if name == "verdict" and row.reasons:
        note = "; ".join(dict.fromkeys(row.reasons))
    return TableCell(
        value,
        interval,
        best=marks.best(row, name),
        pareto=marks.pareto(row, name),
        notes=() if note is None else (notes.number(note),),
    )


def explain_missing(row: Row, name: str) -> str | None:
    """Why a figure of a row is missing, where a run was refused for it; None where it was never measured."""
    scenario = FIGURES[name].scenario
    if row.verdict == "valid" or not row.reasons or (scenario is None and row.verdict != "unsupported"):
        return None
    if row.verdict == "unsupported":
        return "; ".join(row.reasons)
    mine = [text for text in row.reasons if text.startswith(NAMES[scenario or ""])]
    # Scenarios may have any name in a study; where none is recognized, all reasons are told.
    others = [text for text in row.reasons if not text.startswith(tuple(NAMES.values()))]
    return "; ".join(dict.fromkeys(mine or others)) or None


def _datum(row: Row, chosen: Selection, marks: _Marks) -> dict[str, Any]:
    """A row as plain values for programs: every figure with its interval in its unit, marks and reasons."""
    told: dict[str, Any] = {part: getattr(row, part) for part in PARTS}
    for name in chosen.shown:
        figure, key = FIGURES[name], _column(name)
        value, interval = figure.of(row), figure.interval(row)
        told[key] = value if isinstance(value, str) else _short(figure.number(row))
        if figure.better is not None or figure.sign:
            low, high = map(_short, interval or (None, None))
            told |= {f"{key}_low": low, f"{key}_high": high}
    told |= {"pareto": marks.pareto(row), "verdict": row.verdict, "reasons": "; ".join(row.reasons)}
    return {**told, "unlike_conditions": marks.unlike(row) or "", "artifact_sha256": row.artifact_sha256}


@functools.cache
def _column(name: str) -> str:
    """A figure's name with its unit, in letters that any program takes."""
    key = f"{name}_{FIGURES[name].unit}" if FIGURES[name].unit else name
    return key.replace("%", "percent").replace("µ", "u").replace("×", "times").replace("/", "_per_")


def _short(number: float | None) -> float | None:
    """To twelve digits: more are what scaling to a unit leaves behind."""
    return None if number is None else float(f"{number:.12g}")
