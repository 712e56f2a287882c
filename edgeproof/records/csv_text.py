"""CSV text that is safe to open in a spreadsheet and to show in a terminal. Every CSV is formatted here."""

from __future__ import annotations

import csv
import io
import itertools
import numbers
from collections.abc import Iterable, Sequence
from typing import Literal

from edgeproof.core.plain_text import escape_controls

# Spreadsheets read a cell that begins with one of these as a formula (OWASP: "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
FORMULA_MARK = "'"


def format_csv(headings: Sequence[str], rows: Iterable[Sequence[object]], *, quote_text: bool = False) -> str:
    """Return rows as CSV with a line of headings. Numbers stay numbers.

    Text that looks like a formula and control characters are escaped. Line feeds and tabs stay.

    Args:
        headings: names of the columns.
        rows: a sequence of cells for each line, in the order of `headings`. None becomes an empty cell.
        quote_text: put every cell that is not a number in quotes, not only where CSV needs them.
    """
    stream = io.StringIO()
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if quote_text else csv.QUOTE_MINIMAL
    writer = csv.writer(stream, lineterminator="\n", quoting=quoting)
    writer.writerows([escape_cell(cell) for cell in row] for row in itertools.chain([headings], rows))
    return stream.getvalue()


def escape_cell(cell: object) -> object:
    """Return the cell: a number as it is, text with control characters escaped.

    Text that a spreadsheet would read as a formula gets an apostrophe before it.
    """
    if cell is None or isinstance(cell, numbers.Number):
        return cell
    text = str(cell)
    return f"{FORMULA_MARK if text.startswith(FORMULA_STARTS) else ''}{escape_controls(text)}"
