"""CSV: one line for each row, with intervals in columns of their own and units in the column names."""

from __future__ import annotations

from edgeproof.records.csv_text import format_csv
from edgeproof.report.grids import Grid

SUFFIX = ".csv"


def render(grid: Grid) -> bytes:
    """Return the rows as CSV, in the order of the table."""
    names = list(grid.data[0]) if grid.data else []
    return format_csv(names, [list(line.values()) for line in grid.data], quote_text=True).encode()
