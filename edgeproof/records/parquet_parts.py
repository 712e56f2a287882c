"""Parquet files of the store: one part per device and month, written and merged by DuckDB."""

from __future__ import annotations

import base64
import json
import math
import tempfile
import urllib.parse
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.records.columns import StoreLine, sql_types
from edgeproof.records.query_limits import create_scratch, open_connection

# The order of lines within a part.
ORDER = "model, scheme, runtime, measured_at, path"
# A reader of parts holds one row group of each file in memory.
ROW_GROUP_LINES = 20_000


def write_lines(lines: Iterable[StoreLine], path: Path) -> int:
    """Write lines as one Parquet file and return their number."""
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch, "lines.json")
        with text.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(_format_json(line) + "\n")
                count += 1
        types = {name: "VARCHAR" if sql_type == "BLOB" else sql_type for name, sql_type in sql_types().items()}
        schema = ", ".join(f"{name}: '{sql_type}'" for name, sql_type in types.items())
        source = f"read_json('{quote(text)}', format = 'newline_delimited', columns = {{{schema}}})"
        _copy(f"SELECT * REPLACE (from_base64(hits) AS hits) FROM {source} ORDER BY {ORDER}", path)
    return count


def name_part(device: str, night: str) -> str:
    """Return the path of a line's part below the store. The device's name may contain any characters."""
    return f"device={urllib.parse.quote(device, safe='')}/month={urllib.parse.quote(night[:7], safe='')}.parquet"


def list_parts(path: Path) -> set[str]:
    """Return the parts that the lines of one Parquet file belong to."""
    rows = open_connection(create_scratch()).execute(f"SELECT DISTINCT device, night FROM '{quote(path)}'").fetchall()
    return {name_part(device, night) for device, night in rows}


def merge_part(old: Path | None, fresh: Path, changed: Collection[str], part: str, target: Path) -> None:
    """Write one part anew, from its lines of unchanged sessions and its fresh lines.

    Args:
        old: the part before, if there is one.
        fresh: a Parquet file with all lines of changed sessions.
        changed: the keys of changed and deleted sessions.
        part: the part's path below the store.
        target: the file to write.
    """
    device, month = (urllib.parse.unquote(word.partition("=")[2]) for word in part.removesuffix(".parquet").split("/"))
    sources = [f"SELECT * FROM '{quote(fresh)}' WHERE device = $device AND night[:7] = $month"]
    values: dict[str, Any] = {"device": device, "month": month}
    if old is not None and old.is_file():
        sources.append(f"SELECT * FROM '{quote(old)}' WHERE NOT list_contains($changed, session_key)")
        values["changed"] = sorted(changed)
    union = " UNION ALL BY NAME ".join(sources)
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(f"SELECT * FROM ({union}) ORDER BY {ORDER}", target, values)


def quote(path: Path) -> str:
    """Return a path for use between single quotes in SQL."""
    return str(path).replace("'", "''")


def _copy(select: str, target: Path, values: Mapping[str, Any] | None = None) -> None:
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_LINES}"
    open_connection(create_scratch()).execute(f"COPY ({select}) TO '{quote(target)}' ({options})", dict(values or {}))


def _format_json(line: StoreLine) -> str:
    values = {name: getattr(line, name) for name in sql_types()}
    if line.hits is not None:
        values["hits"] = base64.b64encode(line.hits).decode()
    known = {name: value for name, value in values.items() if value is not None}
    infinite = {name: str(value) for name, value in known.items() if isinstance(value, float) and math.isinf(value)}
    return json.dumps({**known, **infinite}, allow_nan=False)
