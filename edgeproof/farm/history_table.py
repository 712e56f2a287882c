"""A farm's history for people: a table a cell, a line a night."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeproof.core.errors import UnknownNameError
from edgeproof.farm import history
from edgeproof.farm.history import History, HistoryCell, NightResult
from edgeproof.records.conditions import list_differences
from edgeproof.report.markdown_text import EMPTY_CELL, Column, escape_lines, format_markdown_table
from edgeproof.statistics.cusum import MIN_BASELINE_NIGHTS

MAX_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class NightRow:
    """A night of a cell: what was measured, what is said of it, and what changed with it."""

    run: str
    night: NightResult | None
    verdict: str
    change: str


def format_tables(told: History, chosen: Mapping[str, str]) -> Iterator[str]:
    """The nights of the cells whose parts are as chosen. Raises UnknownNameError where no cell has such a part."""
    cells = list(told.cells)
    for part, name in chosen.items():
        known = {getattr(cell, part) for cell in told.cells}
        if name not in known:
            raise UnknownNameError(f"{part} in the history", name, known, "'edgeproof farm history' shows all.")
        cells = [cell for cell in cells if getattr(cell, part) == name]
    for cell in cells:
        lines = list(_make_rows(told, cell))
        what = next((line.night.loadgen for line in reversed(lines) if line.night and line.night.loadgen), None)
        heading = f"## {cell} ({cell.study}): {history.FIGURE_NAMES.get(what or '', 'nothing was measured')}"
        yield escape_lines([heading]).rstrip("\n")
        yield ""
        yield from format_markdown_table(lines, COLUMNS)
        yield ""
        yield _describe_last_level(told, cell)
        yield ""
    if not cells:
        yield "No cell is all of that."


def _make_rows(told: History, cell: HistoryCell) -> Iterator[NightRow]:
    """Every night of the cell's study since it has records."""
    found = told.cells[cell]
    changed = _collect_changes(told, cell)
    for run in itertools.dropwhile(lambda run: run not in found, told.list_runs(cell.study)):
        night = found.get(run)
        if night is None:
            verdict = "missing" if history.was_requested(run, cell) else "not asked for"
        elif night.log_durations:
            part = "" if len(night.log_durations) == night.processes else f", {len(night.log_durations)} of {night.processes} processes"
            verdict = f"valid{part}{_format_reasons(night)}"
        else:
            verdict = f"refused{_format_reasons(night)}"
        yield NightRow(run, night, verdict, "; ".join(changed.get(run, [])))


def _format_reasons(night: NightResult) -> str:
    return f": {'; '.join(night.reasons)[:MAX_SHOWN_CHARACTERS]}" if night.reasons else ""


def _collect_changes(told: History, cell: HistoryCell) -> dict[str, list[str]]:
    """What is marked at which night: changed conditions, another artifact, and changes of the level."""
    marks: dict[str, list[str]] = {}
    segments = told.split_segments(cell)
    for before, after in itertools.pairwise(segments):
        lines = "; ".join(list_differences(before[-1].conditions, after[0].conditions))
        marks.setdefault(after[0].run, []).append(f"other conditions: {lines[:MAX_SHOWN_CHARACTERS]}")
    for last, night in itertools.pairwise(itertools.chain.from_iterable(segments)):
        if last.artifact != night.artifact:
            marks.setdefault(night.run, []).append(f"other bytes: {night.artifact[:12]}")
    for segment in segments:
        for change in told.find_changes(cell, segment).changes:
            word = "slower" if change.ratio > 1 else "faster"
            told_on = segment[change.detected].run
            mark = f"**{word} by {abs(change.ratio - 1):.1%}** from here (seen on {told_on})"
            marks.setdefault(segment[change.index].run, []).append(mark)
    return marks


def _describe_last_level(told: History, cell: HistoryCell) -> str:
    segments = told.split_segments(cell)
    if not segments:
        return "Never measured."
    watched = told.find_changes(cell, segments[-1])
    nights = len(segments[-1]) - watched.level_start
    if watched.has_baseline:
        return f"The last level has {nights} nights."
    return f"The last level has {nights} night(s): from {MIN_BASELINE_NIGHTS + 1} on, each is judged."


def _format_value(line: NightRow) -> str:
    if line.night is None or (estimate := line.night.estimate) is None:
        return EMPTY_CELL
    value = estimate.scale(1e-3)
    if not value.low < value.high:
        return f"{value.value:.4g} µs"
    return f"{value.value:.4g} µs [{value.low:.4g}, {value.high:.4g}]"


COLUMNS: tuple[Column[NightRow], ...] = (
    Column("night", lambda line: line.run),
    Column("value", _format_value),
    Column("verdict", lambda line: line.verdict),
    Column("changed", lambda line: line.change or EMPTY_CELL),
)
