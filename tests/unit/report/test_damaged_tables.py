"""A table.json whose rows have another type or are damaged is refused with its path and the place of the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.errors import ConfigError
from edgeproof.report.table_json import read_table_rows
from tests.support.example_rows import several


def write_table(path: Path, **changes: Any) -> Path:
    rows = [row.as_dict() for row in several()]
    rows[0] |= changes
    path.write_text(json.dumps({"rows": rows}), encoding="utf-8")
    return path


def test_a_written_table_is_read_unchanged(tmp_path: Path) -> None:
    assert list(map(repr, read_table_rows(write_table(tmp_path / "table.json")))) == list(map(repr, several()))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {}},
        {"p50_ns": "fast"},
        {"p50_ns": {"value": "x", "low": 1, "high": 2}},
        {"size_bytes": {"a": 1}},
        {"size_bytes": "123"},
        {"seed_qualities": "many"},
        {"seed_qualities": {"x": 0.5}},
        {"reference": ["only one"]},
        {"reasons": None},
        {"budget": {"outcome": "maybe", "reasons": []}},
        {"budget": 3},
        {"threads": [1]},
        {"emulated": {"p50_ns": "slow"}},
    ],
    ids=str,
)
def test_a_field_of_another_type_is_refused_with_the_path(changes: dict[str, Any], tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.json", **changes)
    with pytest.raises(ConfigError, match=r"table.json is not a table.json \(.*'dvc repro'"):
        read_table_rows(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 3}', '{"rows": [[]]}', "[" * 100_000, '{"rows": [{}]}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a table"):
        read_table_rows(tmp_path / "table.json")
