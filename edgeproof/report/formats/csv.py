"""CSV: one line a row of the comparison, figures with their intervals in columns of their own, units in the names."""

from __future__ import annotations

import csv
import io

from edgeproof.report.grids import Grid

SUFFIX = ".csv"


def render(grid: Grid) -> bytes:
    """The rows as data, in the table's order; text that a spreadsheet would take for a formula is quoted by it."""
    stream = io.StringIO()
    names = list(grid.data[0]) if grid.data else []
    writer = csv.DictWriter(stream, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in datum.items()} for datum in grid.data)
    return stream.getvalue().encode()


def _inert(value: object) -> object:
    """Text that begins like a formula, behind an apostrophe (OWASP: CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
