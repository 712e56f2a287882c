"""CSV text that is safe to open in a spreadsheet. Every CSV that edgeproof writes is formatted here."""

from __future__ import annotations

import csv
import io
import itertools
import numbers
from collections.abc import Iterable, Sequence

# Spreadsheets read a cell that begins with one of these as a formula (OWASP: "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def format_csv(headings: Sequence[str], rows: Iterable[Sequence[object]], *, quote_text: bool = False) -> str:
    """Return rows as CSV with a line of headings. Numbers stay numbers; text that looks like a formula is escaped.

    Args:
        headings: names of the columns.
        rows: a sequence of cells for each line, in the order of `headings`. None becomes an empty cell.
        quote_text: put every cell that is not a number in quotes, not only where CSV needs them.
    """
    stream = io.StringIO()
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    plain = quoted if quote_text else csv.writer(stream, lineterminator="\n")
    for row in itertools.chain([headings], rows):
        cells = [escape_formula(cell) for cell in row]
        # csv does not quote a carriage return by itself, and readers take it for the end of the line.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if has_return else plain).writerow(cells)
    return stream.getvalue()


def escape_formula(cell: object) -> object:
    """Return the cell, with an apostrophe before text that a spreadsheet would read as a formula."""
    if cell is None or isinstance(cell, numbers.Number):
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else cell
