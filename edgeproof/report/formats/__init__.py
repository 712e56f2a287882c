"""Formats of a table, one file each: `render(grid)` returns the document as bytes, `SUFFIX` is its file ending."""

from __future__ import annotations

from edgeproof.report.formats import csv, html, latex, markdown, parquet
from edgeproof.report.grids import Grid

FORMATS = {"markdown": markdown, "csv": csv, "parquet": parquet, "latex": latex, "html": html}


def render(grid: Grid, form: str) -> bytes:
    """Return the grid as a document in one of FORMATS."""
    document: bytes = FORMATS[form].render(grid)
    return document
