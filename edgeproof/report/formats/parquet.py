"""Parquet: the same rows as CSV, with typed columns."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import duckdb

from edgeproof.core.plain_text import escape_controls
from edgeproof.report.grids import Grid

SUFFIX = ".parquet"


def render(grid: Grid) -> bytes:
    """Return the content of a Parquet file: the rows in the order of the table. Numbers are doubles, marks booleans."""
    types = {
        name: _choose_sql_type([datum[name] for datum in grid.data]) for name in (grid.data[0] if grid.data else [])
    }
    # Without rows, one column keeps the file valid.
    columns = ", ".join(f"\"{name}\": '{sql}'" for name, sql in types.items()) or "\"model\": 'VARCHAR'"
    with tempfile.TemporaryDirectory() as scratch:
        text, path = Path(scratch, "rows.json"), Path(scratch, "rows.parquet")
        rows = ({name: _escape_text(value) for name, value in datum.items()} for datum in grid.data)
        text.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        source = f"read_json('{text}', format = 'newline_delimited', columns = {{{columns}}})"
        duckdb.connect().execute(f"COPY (FROM {source}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        return path.read_bytes()


def _escape_text(value: object) -> object:
    """Return text as in CSV: with control characters escaped, so that no lone surrogate makes it unreadable."""
    return escape_controls(value) if isinstance(value, str) else value


def _choose_sql_type(values: list[object]) -> str:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return "BOOLEAN"
    return "VARCHAR" if any(isinstance(value, str) for value in known) else "DOUBLE"
