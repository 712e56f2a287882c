"""A table for Python: pandas, Markdown and HTML hold the same rows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import edgeproof
from edgeproof.core.errors import ConfigError
from edgeproof.report import tables
from tests.support.example_rows import row, several


@pytest.fixture
def table(tmp_path: Path) -> edgeproof.Table:
    tables.write_tables(tmp_path / "tables", several(), study="boards", baseline="teacher")
    return edgeproof.Table.read(tmp_path / "tables")


def test_a_table_has_the_rows_that_were_written(table: edgeproof.Table, tmp_path: Path) -> None:
    assert [each.key for each in table.rows] == [each.key for each in several()]
    assert (table.name, len(table), table.records) == ("boards", 6, tmp_path / "records")
    assert repr(table).startswith("<Table 'boards': 6 rows, ")


def test_pandas_has_a_line_for_each_row_with_intervals_in_columns(table: edgeproof.Table) -> None:
    frame = table.to_pandas()
    assert list(frame["model"]) == [each.model for each in table.rows]
    for value, line in zip(table.rows, frame.to_dict("records"), strict=True):
        if value.p50_ns is None:
            assert math.isnan(line["p50_ns"])
        else:
            assert (line["p50_ns"], line["p50_ns_low"]) == (value.p50_ns.value, value.p50_ns.low)


def test_markdown_and_html_show_every_row_and_the_reasons_of_refusals(table: edgeproof.Table) -> None:
    for text in (str(table), table._repr_html_()):
        assert all(each.model in text for each in table.rows)
        assert "too short" in text


def test_names_in_html_are_never_markup(tmp_path: Path) -> None:
    rows = [row(model="<script>alert(1)</script>")]
    text = edgeproof.Table('"><script>', rows, tmp_path, tmp_path)._repr_html_()
    assert "<script>" not in text


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"table.json is not a table.json"):
        edgeproof.Table.read(tmp_path)
