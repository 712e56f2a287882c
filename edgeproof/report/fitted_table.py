"""Tables of text that fit the terminal's width, or a width that suits a file or a log."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeproof.core.plain_text import escape_controls
from edgeproof.report.markdown_text import Column, Item, select_filled_columns

# The width of output that no terminal shows, unless COLUMNS says another one.
FILE_WIDTH = 120
# A mark of the best value of a figure.
BEST_MARK = "*"
STYLES = {
    "valid": "green",
    "slower": "red",
    "faster": "green",
    "error": "red",
    "invalid": "red",
    "refused": "red",
    "failed": "red",
    "unsupported": "yellow",
}
_NUMBER = re.compile(r"(?:◆ )?[+-]?\d")
# Words in place of a number.
_NO_NUMBER = re.compile(r"–( \(|$)|refused|unsupported|failed")
# Where a heading is broken into lines: before its unit, and in narrow tables after every word too.
_UNIT_START = re.compile(r", ")
_WORD_END = re.compile(r", | |(?<=-)")


def open_console() -> Console:
    """Return standard output. Without any terminal it has the width of COLUMNS, or else FILE_WIDTH."""
    has_terminal = any(os.isatty(descriptor) for descriptor in (0, 1, 2))
    has_width = has_terminal or os.environ.get("COLUMNS", "").isdigit()
    return Console() if has_width else Console(width=FILE_WIDTH)


def print_fitted(
    console: Console,
    items: Sequence[Item],
    choices: Sequence[Sequence[Column[Item]]],
    *,
    dispensable: Sequence[str] = (),
) -> None:
    """Print the first choice of columns that fits the console.

    If none fits, columns are left out of the last choice, and a line names them. If that is not enough, texts are
    broken.

    Args:
        console: where to print.
        items: the items, one for each row.
        choices: the columns, from the widest choice to the narrowest.
        dispensable: the headings of columns that may be left out, the least important first.
    """
    if not items:
        return
    unlimited = console.options.update(max_width=10_000)
    tables = _list_tables(items, [select_filled_columns(items, each) for each in choices], dispensable)
    fitting = (each for each in tables if each[0].__rich_measure__(console, unlimited).maximum <= console.width)
    table, missing = next(fitting, tables[-1])
    console.print(table)
    if missing:
        print_line(console, f"Left out of {console.width} columns: {'; '.join(missing)}.")


def print_line(console: Console, text: str, *, is_path: bool = False) -> None:
    """Print a text, broken between words. In a file, and with a path, a line stays one line."""
    console.print(Text(escape_controls(text)), highlight=False, soft_wrap=is_path or not console.is_terminal)


def _list_tables(
    items: Sequence[Item], choices: Sequence[Sequence[Column[Item]]], dispensable: Sequence[str]
) -> list[tuple[Table, list[str]]]:
    """Return the tables to try, each with the headings that it leaves out."""
    tables = [(_build_table(items, columns), list[str]()) for columns in choices]
    shown = {column.heading for column in choices[-1]}
    absent = [heading for heading in dispensable if heading in shown]
    for count in range(len(absent) + 1):
        missing = absent[:count]
        columns = [column for column in choices[-1] if column.heading not in missing]
        tables.append((_build_table(items, columns, is_compact=True), missing))
    return tables


def _build_table(items: Sequence[Item], columns: Sequence[Column[Item]], *, is_compact: bool = False) -> Table:
    """Return a table. A compact one has narrow headings and gaps."""
    gap = 0 if is_compact else 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
    cells = [[escape_controls(column.cell(item), keep="") for item in items] for column in columns]
    for column, texts in zip(columns, cells, strict=True):
        is_number = _has_numbers(texts)
        table.add_column(
            Text((_WORD_END if is_compact else _UNIT_START).sub("\n", escape_controls(column.heading, keep=""))),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    for line in zip(*cells, strict=True):
        table.add_row(*(Text(text, style=_choose_style(text)) for text in line))
    return table


def _has_numbers(texts: Sequence[str]) -> bool:
    return any(map(_NUMBER.match, texts)) and all(_NUMBER.match(text) or _NO_NUMBER.match(text) for text in texts)


def _choose_style(text: str) -> str:
    return STYLES.get(text.partition(" ")[0], "bold" if BEST_MARK in text else "")
