"""One file a format: `render(grid)` gives the whole document as bytes, `SUFFIX` the ending of its file."""

from __future__ import annotations

from edgeproof.report.formats import csv, html, latex, markdown, parquet
from edgeproof.report.grids import Grid

FORMATS = {"markdown": markdown, "csv": csv, "parquet": parquet, "latex": latex, "html": html}


def render(grid: Grid, form: str) -> bytes:
    """The grid in one of FORMATS."""
    document: bytes = FORMATS[form].render(grid)
    return document
