"""Print a grid for people: its table within the width of the terminal, with marks, captions and notes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from edgeproof.core.plain_text import escape_controls
from edgeproof.report.captions import BEST
from edgeproof.report.fitted_table import BEST_MARK, open_console, print_fitted, print_line
from edgeproof.report.grids import Grid, Heading, TableCell
from edgeproof.report.markdown_text import EMPTY_CELL, Column

# A narrow table always shows this figure, and omits its interval only after all other intervals.
MAIN_FIGURE = "p50"

GridLine = Sequence[TableCell]


def print_grid(grid: Grid, *, console: Console | None = None) -> None:
    """Print a grid. `console` is standard output if left out."""
    console = console or open_console()
    console.print(Text(escape_controls(grid.title, keep=""), style="bold"))
    console.print()
    if not grid.lines:
        print_line(console, "No measurement matches this table.")
        return
    shared = _find_shared_stubs(grid)
    figures = [heading for heading in grid.headings[grid.stubs :] if heading.numeric]
    main = [heading for heading in figures if heading.text.startswith(MAIN_FIGURE)] or figures[:1]
    # The last figures are left out first, then those of the main figure, except its first.
    dispensable = [*(heading for heading in figures[::-1] if heading not in main), *main[:0:-1]]
    choices = [
        [
            _make_column(heading, place, with_interval=heading in intervals)
            for place, heading in enumerate(grid.headings)
            if place not in shared
        ]
        for intervals in (figures, main, [])
    ]
    print_fitted(console, grid.lines, choices, dispensable=[_name(heading) for heading in dispensable])
    if shared:
        names = (f"{grid.headings[place].text} {grid.lines[0][place].value}" for place in shared)
        print_line(console, f"\nAll rows: {', '.join(names)}.")
    if grid.captions:
        captions = (text.replace(f"Bold: {BEST}", f"{BEST_MARK}: {BEST}") for text in grid.captions)
        print_line(console, f"\n{' '.join(captions)}")
    if grid.notes:
        console.print()
    for number, text in enumerate(grid.notes, 1):
        print_line(console, f"({number}) {text}")


def _find_shared_stubs(grid: Grid) -> list[int]:
    """Return the leading columns with the same value in every line. They are printed once, below the table."""
    values = [{line[place].value for line in grid.lines} for place in range(grid.stubs)]
    shared = [place for place, names in enumerate(values) if len(names) == 1]
    return shared if len(shared) < grid.stubs else []


def _make_column(heading: Heading, place: int, *, with_interval: bool) -> Column[GridLine]:
    return Column(_name(heading), lambda line: _format_cell(line[place], with_interval))


def _name(heading: Heading) -> str:
    return f"{heading.text} ({heading.group})" if heading.group else heading.text


def _format_cell(cell: TableCell, with_interval: bool) -> str:
    if cell.is_empty:
        return EMPTY_CELL
    notes = f"({','.join(map(str, cell.notes))})" if cell.notes else ""
    missing = EMPTY_CELL if notes else cell.refused  # the note says why
    value = f"{'◆ ' if cell.pareto else ''}{cell.value or missing}{BEST_MARK if cell.best else ''}"
    return " ".join(filter(None, (value, notes, cell.interval if with_interval else "")))
