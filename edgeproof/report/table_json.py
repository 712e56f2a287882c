"""Read a table.json, which `dvc repro`, a sweep or `edgeproof bench` has written. What it holds is checked."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgeproof.core.errors import ConfigError
from edgeproof.report.row import Row

# Checks the types of all fields.
_ROWS = TypeAdapter(Row)


def read_table_rows(path: Path) -> list[Row]:
    """Return the rows of a table.json. Raises ConfigError for another file."""
    return read_table(path)[1]


def read_table(path: Path) -> tuple[str, list[Row]]:
    """Return the study and the rows of a table.json. Raises ConfigError for another file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(_explain_damage(str(path), f"{type(error).__name__}: {error}")) from None
    return parse_table(text, str(path))


def parse_table(text: str, source: str) -> tuple[str, list[Row]]:
    """Return the study and the rows of a table.json's text. Raises ConfigError, which names the `source`."""
    try:
        content = json.loads(text)
        rows = [Row.from_dict(row) for row in content["rows"]]
        return str(content.get("study", "")), [_check(row) for row in rows]
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ConfigError(_explain_damage(source, reason))


def _check(row: Row) -> Row:
    """Return a row whose fields have the right types. JSON is checked strictly: a text is no number."""
    return _ROWS.validate_json(json.dumps(row.as_dict()), strict=True)


def _explain_damage(source: str, reason: str) -> str:
    return f"{source} is not a table.json ({reason}). Write one with 'dvc repro'."
