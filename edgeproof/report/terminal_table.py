"""Tables for people: the figures that matter most, within the width of the terminal. The whole table is in a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from edgeproof.report.figure import Figure
from edgeproof.report.figures import ESTIMATES, FIGURES, choose_figure, format_verdict, make_column
from edgeproof.report.fitted_table import open_console, print_fitted, print_line
from edgeproof.report.interleaved import COLUMNS as INTERLEAVED_COLUMNS
from edgeproof.report.interleaved import InterleavedComparison
from edgeproof.report.markdown_text import Column
from edgeproof.report.row import Row
from edgeproof.report.table_json import read_table_rows

# Figures of measured rows, and of rows whose times an emulator or a compiler made. These never share a table.
MEASURED = ("quality", "size", "p50", "speed_up")
EMULATED = ("quality", "size", "arena", "emulated_p50")
# Figures with an interval, from the widest table to the narrowest.
INTERVALS: Sequence[Collection[str]] = (("quality", "p50", "speed_up"), ("p50",), ())
# Figures that a narrow table leaves out, the least important first.
DISPENSABLE = ("size", "speed_up", "quality", "sram", "flash", "npu_operators")
DISPENSABLE_COMPARED = ("p", "detectable slowdown", "processes", "runtime")


def print_study_table(tables: Path) -> None:
    """Print the table of a study from its directory of tables."""
    print_rows(read_table_rows(tables / "table.json"), path=tables / "table.md")


def print_rows(rows: Sequence[Row], *, path: Path, console: Console | None = None) -> None:
    """Print rows with the reasons of refusals, and the path of the whole table.

    Args:
        rows: the rows, in order.
        path: the file of the whole table.
        console: where to print; standard output if left out.
    """
    console = console or open_console()
    measured = [row for row in rows if row.npu is None and row.emulated is None]
    emulated = [row for row in rows if row.emulated is not None]
    estimated = [row for row in rows if row.npu is not None]
    _print_figures(console, measured, _select(MEASURED, measured), INTERVALS)
    if emulated:
        console.print("\nEmulated: answers measured, times not")
        _print_figures(console, emulated, _select(EMULATED, emulated), INTERVALS)
    if estimated:
        console.print("\nEstimated, not measured")
        _print_figures(console, estimated, {"size": FIGURES["size"], **ESTIMATES}, [()])
    _print_reasons(console, rows)
    print_line(console, f"All figures: {path}", is_path=True)


def print_comparisons(
    comparisons: Sequence[InterleavedComparison], *, path: Path, console: Console | None = None
) -> None:
    """Print interleaved comparisons. The other arguments are those of `print_rows`."""
    console = console or open_console()
    fewer = [column for column in INTERLEAVED_COLUMNS if column.heading not in ("p", "detectable slowdown")]
    print_fitted(console, comparisons, [INTERLEAVED_COLUMNS, fewer], dispensable=DISPENSABLE_COMPARED)
    print_line(console, f"Conditions, and what was refused: {path}", is_path=True)


def _select(names: Sequence[str], rows: Sequence[Row]) -> dict[str, Figure]:
    return {name: choose_figure(name, rows) for name in names}


def _print_figures(
    console: Console, rows: Sequence[Row], figures: dict[str, Figure], intervals: Sequence[Collection[str]]
) -> None:
    choices = [_list_columns(rows, figures, shown) for shown in intervals]
    dispensable = [figures[name].title for name in DISPENSABLE if name in figures]
    print_fitted(console, rows, choices, dispensable=dispensable)


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


def _print_reasons(console: Console, rows: Sequence[Row]) -> None:
    """Print why figures are missing."""
    refused = [row for row in rows if row.reasons]
    if refused:
        print_line(console, "\nRefused or unsupported:")
    for row in refused:
        print_line(console, f"- {row.model} {row.runtime} {row.scheme}: {'; '.join(row.reasons)}")
    console.print()
