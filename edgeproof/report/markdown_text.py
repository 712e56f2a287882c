"""Markdown text: tables, and names and messages that never become markup. Every Markdown table is formatted here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeproof.core.plain_text import escape_controls

# A cell without a value.
EMPTY_CELL = "–"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column of a Markdown table: its heading, and the function that gives the text of an item's cell."""

    heading: str
    cell: Callable[[Item], str]


def format_markdown_table(items: Sequence[Item], columns: Sequence[Column[Item]]) -> list[str]:
    """Return the lines of a Markdown table with one row for each item. Cells are escaped.

    Columns that are empty for every item are left out.
    """
    columns = select_filled_columns(items, columns)
    rows = [[escape(column.cell(item)) for column in columns] for item in items]
    return format_cells([column.heading for column in columns], rows)


def select_filled_columns(items: Sequence[Item], columns: Sequence[Column[Item]]) -> list[Column[Item]]:
    """Return the columns that have a value for some item; all of them if there are no items."""
    empty = ("", EMPTY_CELL)
    return [column for column in columns if not items or any(column.cell(item) not in empty for item in items)]


def format_cells(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right_aligned: Sequence[bool] | None = None
) -> list[str]:
    """Return the lines of a Markdown table from text that is Markdown already.

    Args:
        headings: one text for each column.
        rows: one text for each cell.
        right_aligned: for each column, whether its cells stand on the right; all on the left when left out.
    """
    rules = ["---:" if right else "---" for right in right_aligned or [False] * len(headings)]
    return [_format_line(headings), "|" + "|".join(rules) + "|", *map(_format_line, rows)]


def _format_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """Return text that stays in its cell and its line, and that is never markup."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")
    return _join_lines(plain)


def escape_lines(lines: Sequence[str]) -> str:
    """Return the lines of a document in which names may be anything. No line becomes two, and no text a tag."""
    return "".join(_join_lines(line.replace("&", "&amp;").replace("<", "&lt;")) + "\n" for line in lines)


def _join_lines(text: str) -> str:
    """Return text on one line, with control characters escaped."""
    return escape_controls(" ".join(text.splitlines()), keep="\t")
