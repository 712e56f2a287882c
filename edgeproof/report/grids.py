"""Lay rows out as a grid: headings, cells with their marks, and notes. Every format shows the same grid."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.records.kinds import ACCURACY, MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.report.captions import BEST, COVERAGE, explain_direction, explain_front, explain_intervals
from edgeproof.report.figure import Figure
from edgeproof.report.figures import FIGURES, choose_figure, list_metrics
from edgeproof.report.grid_data import describe_row
from edgeproof.report.grid_marks import DeviceRanking, Marks, find_marks
from edgeproof.report.row import Row
from edgeproof.report.selections import PARTS, Selection

# The word in a cell that has no value, by the row's verdict.
REFUSED = {"invalid": "refused", "unsupported": "unsupported", "error": "failed"}
# The prefixes of reasons, for scenarios that have the names of conf/scenarios.
SCENARIO_NAMES = {
    ACCURACY: "accuracy",
    SINGLE_STREAM: "single_stream",
    MULTI_STREAM: "multi_stream",
    OFFLINE: "offline",
    SERVER: "server",
}

Place = tuple[str, ...]


@dataclass(frozen=True)
class TableCell:
    """One cell of a grid.

    Attributes:
        value: the value as text; empty if there is none.
        interval: the interval in brackets; empty if there is none.
        refused: a word that says why there is no value; empty if nothing was measured.
        best: True if the value is the best of its figure on its device.
        pareto: True if no other row on its device beats the row beyond the intervals.
        notes: numbers of the grid's notes, from 1.
    """

    value: str = ""
    interval: str = ""
    refused: str = ""
    best: bool = False
    pareto: bool = False
    notes: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing was measured. A refused cell is not empty."""
        return not self.value and not self.refused


@dataclass(frozen=True)
class Heading:
    """Heading of a column; `group` is the value that neighbouring columns share, such as a runtime."""

    text: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Grid:
    """A table before it is formatted.

    Attributes:
        title: heading of the table.
        stubs: number of leading columns that name the parts of a line, such as model and scheme.
        headings: one for each column.
        lines: the cells, line by line.
        notes: reasons that cells refer to by number.
        captions: the meaning of marks and intervals.
        data: every row as plain values for programs.
        left_out: the headings of figures that no row has. Their columns are only in `data`.
    """

    title: str
    stubs: int
    headings: Sequence[Heading]
    lines: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = ()
    captions: Sequence[str] = ()
    data: Sequence[Mapping[str, Any]] = field(default_factory=list)
    left_out: Sequence[str] = ()


def build_grid(rows: Sequence[Row], chosen: Selection, ranking: DeviceRanking | None = None) -> Grid:
    """Return the chosen rows as a grid.

    Args:
        rows: the rows to choose from.
        chosen: the rows and figures to show.
        ranking: the ranking of all rows of the devices, which decides the marks. None ranks `rows`.

    Raises EdgeproofError when two rows would share a place.
    """
    selected = [row for row in rows if _is_chosen(row, chosen)]
    marks = find_marks(selected, chosen, ranking or DeviceRanking(rows))
    notes = _Notes()
    lines, groups = _place_rows(selected, chosen)
    stubs = [Heading(part, numeric=False) for part in chosen.rows]
    figures = [choose_figure(name, selected) for name in chosen.figures]
    headings = [Heading(figure.title, " ".join(group), not figure.is_text) for group in groups for figure in figures]
    cells = [
        [TableCell(part) for part in line]
        + [_make_cell(places.get(group), figure, marks, notes) for group in groups for figure in figures]
        for line, places in lines.items()
    ]
    data = [describe_row(row, figures, marks) for places in lines.values() for row in places.values()]
    captions = _list_captions(cells, chosen, selected)
    grid = Grid(chosen.title, len(stubs), [*stubs, *headings], cells, notes.texts, captions, data)
    return _leave_out_empty_columns(grid)


def _leave_out_empty_columns(grid: Grid) -> Grid:
    """Return the grid without the columns in which no cell has a value or a reason. A grid without lines keeps all."""
    shown = [
        not grid.lines
        or place < grid.stubs
        or any(not line[place].is_empty or line[place].notes for line in grid.lines)
        for place in range(len(grid.headings))
    ]
    headings = list(itertools.compress(grid.headings, shown))
    texts = {heading.text for heading in headings}
    return replace(
        grid,
        headings=headings,
        lines=[list(itertools.compress(line, shown)) for line in grid.lines],
        left_out=list(dict.fromkeys(heading.text for heading in grid.headings if heading.text not in texts)),
    )


def _is_chosen(row: Row, chosen: Selection) -> bool:
    if row.npu is not None:  # an estimate never stands beside measured figures
        return False
    lists = {part: getattr(chosen, f"{part}s") for part in PARTS}
    if any(names is not None and getattr(row, part) not in names for part, names in lists.items()):
        return False
    if chosen.placement is not None and (
        row.placement is None or row.placement.is_complete != (chosen.placement == "complete")
    ):
        return False
    return chosen.artifacts is None or f"{row.model} {row.scheme}" in chosen.artifacts


def _place_rows(rows: Sequence[Row], chosen: Selection) -> tuple[dict[Place, dict[Place, Row]], list[Place]]:
    """Return the rows by line and by group of columns, and the groups in the order of the rows."""
    lines: dict[Place, dict[Place, Row]] = defaultdict(dict)
    for row in _sort(rows, chosen):
        line = tuple(str(getattr(row, part)) for part in chosen.rows)
        group = tuple(str(getattr(row, part)) for part in chosen.across)
        if group in lines[line]:
            missing = [part for part in PARTS if part not in (*chosen.rows, *chosen.across)]
            other = lines[line][group]
            raise EdgeproofError(
                f"two rows of the report have the same place: {' '.join(row.key)} and {' '.join(other.key)}. "
                f"Add {' or '.join(missing)} to rows or across, or select fewer rows."
            )
        lines[line][group] = row
    groups = dict.fromkeys(tuple(str(getattr(row, part)) for part in chosen.across) for row in rows)
    return lines, list(groups) or [()]


def _sort(rows: Sequence[Row], chosen: Selection) -> list[Row]:
    """Return the rows in the chosen order. Rows without the figure come last."""
    ordered = list(rows)
    for name in reversed(chosen.sort):  # sorting is stable, so the first key is applied last
        descending, key = name.startswith("-"), name.removeprefix("-")
        if key in PARTS:
            place = {value: n for n, value in enumerate(dict.fromkeys(getattr(row, key) for row in rows))}
            ordered.sort(key=lambda row, key=key, place=place: place[getattr(row, key)], reverse=descending)  # type: ignore[misc]
            continue
        figure = FIGURES[key]
        known = [row for row in ordered if figure.get_number(row) is not None]
        unknown = [row for row in ordered if figure.get_number(row) is None]
        ordered = [*sorted(known, key=lambda row: figure.get_number(row) or 0.0, reverse=descending), *unknown]
    return ordered


class _Notes:
    """The texts of notes, numbered from 1 in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def add(self, text: str) -> int:
        """Return the number of a note."""
        return self._numbers.setdefault(text, len(self._numbers) + 1)


def _make_cell(row: Row | None, figure: Figure, marks: Marks, notes: _Notes) -> TableCell:
    if row is None:
        return TableCell()
    name = figure.name
    value, interval = figure.format_row(row)
    if not value:
        reason = explain_missing(row, name)
        if reason is None:
            return TableCell()
        return TableCell(refused=REFUSED.get(row.verdict, ""), notes=(notes.add(reason),))
    return TableCell(
        value,
        interval,
        best=marks.is_best(row, name),
        pareto=row.key in marks.front and name == marks.front_figures[0],
        notes=tuple(notes.add(text) for text in _list_remarks(row, name, marks)),
    )


def _list_remarks(row: Row, name: str, marks: Marks) -> list[str]:
    """Return the remarks on a figure that has a value."""
    remarks = []
    if FIGURES[name].scenario not in (None, ACCURACY) and row.key in marks.unlike:
        remarks.append(marks.unlike[row.key])
    if name in ("p50", "speed_up") and row.has_selective_refusals:
        p50 = FIGURES["p50"].format_cell(row.p50_attempts_ns)
        remarks.append(f"over all attempts, with {row.refused_runs} refused run(s), p50 is {p50} µs")
    if name == "placement" and row.placement is not None:
        remarks += [fallback.describe() for fallback in row.placement.fallbacks]
    if name == "verdict" and row.reasons:
        remarks.append("; ".join(dict.fromkeys(row.reasons)))
    return remarks


def explain_missing(row: Row, name: str) -> str | None:
    """Return the reasons for which a figure was refused, or None if it was never measured."""
    scenario = FIGURES[name].scenario
    if row.verdict == "valid" or not row.reasons or (scenario is None and row.verdict != "unsupported"):
        return None
    if row.verdict == "unsupported":
        return "; ".join(row.reasons)
    own = [reason for reason in row.reasons if reason.startswith(SCENARIO_NAMES[scenario or ""])]
    # A study may choose other names for its scenarios. Reasons with unknown names are given for every figure.
    others = [reason for reason in row.reasons if not reason.startswith(tuple(SCENARIO_NAMES.values()))]
    return "; ".join(dict.fromkeys(own or others)) or None


def _list_captions(cells: Sequence[Sequence[TableCell]], chosen: Selection, rows: Sequence[Row]) -> list[str]:
    """Return an explanation of the intervals and marks that the cells have."""
    shown = [cell for line in cells for cell in line]
    metrics = list_metrics(rows)
    captions = [explain_intervals(metrics)] if any(cell.interval for cell in shown) else []
    if any(FIGURES[name].is_quality for name in chosen.figures) and (direction := explain_direction(metrics)):
        captions.append(direction)
    has_runs = any(FIGURES[name].scenario not in (None, ACCURACY) for name in chosen.figures)
    if has_runs and any(cell.interval for cell in shown):
        captions.append(COVERAGE)
    if any(cell.best for cell in shown):
        captions.append(f"Bold: {BEST}")
    if any(cell.pareto for cell in shown):
        captions.append(explain_front([choose_figure(name, rows).heading for name in chosen.pareto]))
    return captions
