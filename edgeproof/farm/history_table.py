"""Format a farm's history as Markdown: one table for each cell, one row for each night."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeproof.core.errors import EdgeproofError, UnknownNameError
from edgeproof.farm import expected_cells
from edgeproof.farm.history import FIGURE_NAMES, History, HistoryCell, NightResult
from edgeproof.records.conditions import list_differences
from edgeproof.report.markdown_text import EMPTY_CELL, Column, escape_lines, format_markdown_table
from edgeproof.statistics.cusum import MIN_BASELINE_NIGHTS

MAX_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class NightRow:
    """A cell's row for one night: what was measured, its verdict, and the changes since the night before."""

    run: str
    night: NightResult | None
    verdict: str
    changes: str


def format_tables(history: History, filters: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the tables of all cells that pass the filters.

    Args:
        filters: required values of a cell's fields, such as {"device": "pi"}.

    Raises EdgeproofError when no night has a record, and UnknownNameError when no cell has such a value.
    """
    cells = list(history.cells)
    if not cells:
        raise EdgeproofError(
            "no night has a record of a timed run. 'edgeproof farm status' shows what became of the jobs."
        )
    for part, name in filters.items():
        known = {getattr(cell, part) for cell in history.cells}
        if name not in known:
            raise UnknownNameError(f"{part} in the history", name, known, "'edgeproof farm history' lists all cells.")
        cells = [cell for cell in cells if getattr(cell, part) == name]
    for cell in cells:
        rows = list(_make_rows(history, cell))
        scenarios = [row.night.loadgen_scenario for row in rows if row.night and row.night.loadgen_scenario]
        figure = FIGURE_NAMES.get(scenarios[-1] if scenarios else "", "nothing was measured")
        yield escape_lines([f"## {cell} ({cell.study}): {figure}"]).rstrip("\n")
        yield ""
        yield from format_markdown_table(rows, COLUMNS)
        yield ""
        yield _describe_last_level(history, cell)
        yield ""
    if not cells:
        yield "No cell has all of these values."


def _make_rows(history: History, cell: HistoryCell) -> Iterator[NightRow]:
    """Yield a row for every night of the cell's study since the cell has records."""
    nights = history.cells[cell]
    changes = _collect_changes(history, cell)
    for run in itertools.dropwhile(lambda run: run not in nights, history.list_runs(cell.study)):
        night = nights.get(run)
        yield NightRow(run, night, _format_verdict(run, cell, night), "; ".join(changes.get(run, [])))


def _format_verdict(run: str, cell: HistoryCell, night: NightResult | None) -> str:
    if night is None:
        return "missing" if expected_cells.was_requested(run, cell) else "not requested"
    reasons = f": {'; '.join(night.reasons)[:MAX_SHOWN_CHARACTERS]}" if night.reasons else ""
    if not night.was_measured:
        return f"refused{reasons}"
    valid = len(night.log_durations)
    part = "" if valid == night.processes else f", {valid} of {night.processes} processes"
    return f"valid{part}{reasons}"


def _collect_changes(history: History, cell: HistoryCell) -> dict[str, list[str]]:
    """Return, for each night, changed conditions, another artifact, and change points of the level."""
    changes: dict[str, list[str]] = {}
    segments = history.split_segments(cell)
    for before, after in itertools.pairwise(segments):
        differences = "; ".join(list_differences(before[-1].conditions, after[0].conditions))
        changes.setdefault(after[0].run, []).append(f"other conditions: {differences[:MAX_SHOWN_CHARACTERS]}")
    for last, night in itertools.pairwise(itertools.chain.from_iterable(segments)):
        if last.artifact != night.artifact:
            changes.setdefault(night.run, []).append(f"other bytes: {night.artifact[:12]}")
    for segment in segments:
        for change in history.find_changes(cell, segment).changes:
            direction = "slower" if change.ratio > 1 else "faster"
            detected = segment[change.detected].run
            text = f"**{direction} by {abs(change.ratio - 1):.1%}** from here (detected on {detected})"
            changes.setdefault(segment[change.index].run, []).append(text)
    return changes


def _describe_last_level(history: History, cell: HistoryCell) -> str:
    segments = history.split_segments(cell)
    if not segments:
        return "Never measured."
    series = history.find_changes(cell, segments[-1])
    nights = len(segments[-1]) - series.level_start
    if series.has_baseline:
        return f"The last level has {nights} nights."
    return f"The last level has {nights} night(s). Monitoring starts with night {MIN_BASELINE_NIGHTS + 1}."


def _format_value(row: NightRow) -> str:
    if row.night is None or (estimate_ns := row.night.estimate_ns) is None:
        return EMPTY_CELL
    us = estimate_ns.scale(1e-3)
    if not us.low < us.high:
        return f"{us.value:.4g} µs"
    return f"{us.value:.4g} µs [{us.low:.4g}, {us.high:.4g}]"


COLUMNS: tuple[Column[NightRow], ...] = (
    Column("night", lambda row: row.run),
    Column("value", _format_value),
    Column("verdict", lambda row: row.verdict),
    Column("changed", lambda row: row.changes or EMPTY_CELL),
)
