"""Tables on a terminal: the figures that matter most, within the terminal's width. Elsewhere Markdown is printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeproof.core.plain_text import escape_controls
from edgeproof.report.figure import Figure
from edgeproof.report.figures import ESTIMATES, FIGURES, choose_figure, format_verdict, make_column
from edgeproof.report.interleaved import COLUMNS as INTERLEAVED_COLUMNS
from edgeproof.report.interleaved import InterleavedComparison
from edgeproof.report.markdown_text import EMPTY_CELL, Column, Item
from edgeproof.report.row import Row
from edgeproof.report.selected_rows import read_rows

_NUMBER = re.compile(r"[+-]?\d")
# Where a heading is broken into lines: before its unit, and in narrow tables after every word too.
_UNIT_START = re.compile(r", ")
_WORD_END = re.compile(r", | |(?<=-)")
# Figures of measured rows, and of rows whose times an emulator or a compiler made. These never share a table.
MEASURED = ("quality", "size", "p50", "speed_up")
EMULATED = ("quality", "size", "emulated_p50")
# Figures with an interval, from the widest table to the narrowest.
INTERVALS: Sequence[Collection[str]] = (("quality", "p50", "speed_up"), ("p50",), ())
STYLES = {
    "valid": "green",
    "slower": "red",
    "faster": "green",
    "error": "red",
    "invalid": "red",
    "unsupported": "yellow",
}


def print_study_table(tables: Path) -> None:
    """Print the table of a study from its directory of tables."""
    print_rows(
        read_rows(tables / "table.json") if _is_terminal() else [],
        markdown=(tables / "table.md").read_text(encoding="utf-8"),
        path=tables / "table.md",
    )


def print_rows(rows: Sequence[Row], *, markdown: str, path: Path, console: Console | None = None) -> None:
    """Print rows on a terminal with the reasons of refusals, and the path of the whole table.

    Args:
        rows: the rows, in order.
        markdown: the whole table, which is printed if standard output is not a terminal.
        path: the file of the whole table.
        console: where to print; standard output if left out.
    """
    console = console or Console()
    if not console.is_terminal:
        print(escape_controls(markdown))
        return
    measured = [row for row in rows if row.npu is None and row.emulated is None]
    emulated = [row for row in rows if row.emulated is not None]
    estimated = [row for row in rows if row.npu is not None]
    _print_widest(
        console, measured, [_list_columns(measured, _select(MEASURED, measured), shown) for shown in INTERVALS]
    )
    if emulated:
        console.print("\nEmulated: answers measured, times not")
        figures = _select(EMULATED, emulated)
        _print_widest(console, emulated, [_list_columns(emulated, figures, shown) for shown in INTERVALS])
    if estimated:
        console.print("\nEstimated, not measured")
        figures = {"size": FIGURES["size"], **ESTIMATES}
        _print_widest(console, estimated, [_list_columns(estimated, figures, ())])
    _print_reasons(console, rows)
    _print_line(console, f"All figures: {path}")


def print_comparisons(
    comparisons: Sequence[InterleavedComparison], *, markdown: str, path: Path, console: Console | None = None
) -> None:
    """Print interleaved comparisons. The other arguments are those of `print_rows`."""
    console = console or Console()
    if not console.is_terminal:
        print(escape_controls(markdown))
        return
    fewer = [column for column in INTERLEAVED_COLUMNS if column.heading not in ("p", "detectable slowdown")]
    _print_widest(console, comparisons, [INTERLEAVED_COLUMNS, fewer])
    _print_line(console, f"Conditions, and what was refused: {path}")


def _is_terminal() -> bool:
    return Console(file=sys.stdout).is_terminal


def _select(names: Sequence[str], rows: Sequence[Row]) -> dict[str, Figure]:
    return {name: choose_figure(name, rows) for name in names}


def _list_columns(rows: Sequence[Row], figures: dict[str, Figure], with_interval: Collection[str]) -> list[Column[Row]]:
    """Return the columns of rows. The device has one only if there are several."""
    device = [Column[Row]("device", lambda row: row.device)] if len({row.device for row in rows}) > 1 else []
    return [
        *device,
        Column("model", lambda row: row.model),
        Column("runtime", lambda row: row.runtime),
        Column("scheme", lambda row: row.scheme),
        *(_make_column(figure, name in with_interval) for name, figure in figures.items()),
        Column("verdict", format_verdict),
    ]


def _make_column(figure: Figure, with_interval: bool) -> Column[Row]:
    return make_column(figure, lambda row: row, with_interval=with_interval)


def _print_widest(console: Console, items: Sequence[Item], choices: Sequence[Sequence[Column[Item]]]) -> None:
    """Print the first choice of columns that fits the terminal, or else the last, whose texts are then broken."""
    if not items:
        return
    tables = [_build_table(items, columns) for columns in choices]
    tables.append(_build_table(items, choices[-1], is_compact=True))
    unlimited = console.options.update(max_width=10_000)
    fitting = (table for table in tables if table.__rich_measure__(console, unlimited).maximum <= console.width)
    console.print(next(fitting, tables[-1]))


def _build_table(items: Sequence[Item], columns: Sequence[Column[Item]], *, is_compact: bool = False) -> Table:
    """Return a table without the columns that are empty for every item. A compact one has narrow headings and gaps."""
    gap = 0 if is_compact else 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
    cells = {column.heading: [escape_controls(column.cell(item), keep="") for item in items] for column in columns}
    shown = {heading: texts for heading, texts in cells.items() if any(text != EMPTY_CELL for text in texts)}
    for heading, texts in shown.items():
        is_number = all(_NUMBER.match(text) or text == EMPTY_CELL for text in texts)
        table.add_column(
            Text((_WORD_END if is_compact else _UNIT_START).sub("\n", heading)),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    for line in zip(*shown.values(), strict=True):
        table.add_row(*(Text(text, style=STYLES.get(text.partition(" ")[0], "")) for text in line))
    return table


def _print_reasons(console: Console, rows: Sequence[Row]) -> None:
    """Print why figures are missing."""
    refused = [row for row in rows if row.reasons]
    if refused:
        _print_line(console, "\nRefused or unsupported:")
    for row in refused:
        _print_line(console, f"- {row.model} {row.runtime} {row.scheme}: {'; '.join(row.reasons)}")
    console.print()


def _print_line(console: Console, text: str) -> None:
    console.print(Text(escape_controls(text)), highlight=False)
