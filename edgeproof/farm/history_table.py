"""A farm's history for people: a table a cell, a line a night."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeproof.core.errors import UnknownName
from edgeproof.farm import history
from edgeproof.farm.history import Cell, History, Night
from edgeproof.report.tables import NONE, Column, escaped_lines, markdown_table
from edgeproof.statistics.change_points import FEWEST_BEFORE
from edgeproof.statistics.comparison import unlike

SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Line:
    """A night of a cell: what was measured, what is said of it, and what changed with it."""

    run: str
    night: Night | None
    verdict: str
    change: str


def tables(told: History, chosen: Mapping[str, str]) -> Iterator[str]:
    """The nights of the cells whose parts are as chosen. Raises UnknownName where no cell has such a part."""
    cells = list(told.cells)
    for part, name in chosen.items():
        known = {getattr(cell, part) for cell in told.cells}
        if name not in known:
            raise UnknownName(f"{part} in the history", name, known, "'edgeproof farm history' shows all.")
        cells = [cell for cell in cells if getattr(cell, part) == name]
    for cell in cells:
        lines = list(_lines(told, cell))
        what = next((line.night.loadgen for line in reversed(lines) if line.night and line.night.loadgen), None)
        heading = f"## {cell} ({cell.study}): {history.FIGURES.get(what or '', 'nothing was measured')}"
        yield escaped_lines([heading]).rstrip("\n")
        yield ""
        yield from markdown_table(lines, COLUMNS)
        yield ""
        yield _standing(told, cell)
        yield ""
    if not cells:
        yield "No cell is all of that."


def _lines(told: History, cell: Cell) -> Iterator[Line]:
    """Every night of the cell's study since it has records."""
    found = told.cells[cell]
    changed = _changes(told, cell)
    for run in itertools.dropwhile(lambda run: run not in found, told.nights(cell.study)):
        night = found.get(run)
        if night is None:
            verdict = "missing" if history.was_asked(run, cell) else "not asked for"
        elif night.logs:
            part = "" if len(night.logs) == night.processes else f", {len(night.logs)} of {night.processes} processes"
            verdict = f"valid{part}{_reasons(night)}"
        else:
            verdict = f"refused{_reasons(night)}"
        yield Line(run, night, verdict, "; ".join(changed.get(run, [])))


def _reasons(night: Night) -> str:
    return f": {'; '.join(night.reasons)[:SHOWN_CHARACTERS]}" if night.reasons else ""


def _changes(told: History, cell: Cell) -> dict[str, list[str]]:
    """What is marked at which night: changed conditions, another artifact, and changes of the level."""
    marks: dict[str, list[str]] = {}
    segments = told.segments(cell)
    for before, after in itertools.pairwise(segments):
        lines = "; ".join(unlike(before[-1].under, after[0].under))
        marks.setdefault(after[0].run, []).append(f"other conditions: {lines[:SHOWN_CHARACTERS]}")
    for last, night in itertools.pairwise(itertools.chain.from_iterable(segments)):
        if last.artifact != night.artifact:
            marks.setdefault(night.run, []).append(f"other bytes: {night.artifact[:12]}")
    for segment in segments:
        for change in told.watched(cell, segment).changes:
            word = "slower" if change.ratio > 1 else "faster"
            told_on = segment[change.found].run
            mark = f"**{word} by {abs(change.ratio - 1):.1%}** from here (seen on {told_on})"
            marks.setdefault(segment[change.place].run, []).append(mark)
    return marks


def _standing(told: History, cell: Cell) -> str:
    segments = told.segments(cell)
    if not segments:
        return "Never measured."
    watched = told.watched(cell, segments[-1])
    nights = len(segments[-1]) - watched.began
    if watched.judged:
        return f"The last level has {nights} nights."
    return f"The last level has {nights} night(s): from {FEWEST_BEFORE + 1} on, each is judged."


def _value(line: Line) -> str:
    if line.night is None or (estimate := line.night.estimate) is None:
        return NONE
    value = estimate.scaled(1e-3)
    if not value.low < value.high:
        return f"{value.value:.4g} µs"
    return f"{value.value:.4g} µs [{value.low:.4g}, {value.high:.4g}]"


COLUMNS: tuple[Column[Line], ...] = (
    Column("night", lambda line: line.run),
    Column("value", _value),
    Column("verdict", lambda line: line.verdict),
    Column("changed", lambda line: line.change or NONE),
)
