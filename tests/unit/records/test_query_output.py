"""Answers of queries as text, and the commands 'query' and 'migrate'."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.records import query_output, record_files
from tests.support import record_trees

SQL = "SELECT * FROM (VALUES (1, 2.5, 'a', NULL), (30, 1/3, 'longer', true)) AS t(n, share, name, flag)"


def run_query(sql: str = SQL) -> duckdb.DuckDBPyConnection:
    return duckdb.connect().execute(sql)


def test_numbers_are_aligned_right_and_text_left() -> None:
    assert query_output.format_answer(run_query(), "table").splitlines() == [
        " n     share  name    flag",
        "--  --------  ------  ----",
        " 1       2.5  a",
        "30  0.333333  longer  True",
    ]


def test_an_empty_answer_has_only_headings() -> None:
    assert query_output.format_answer(run_query("SELECT 1 AS a WHERE false"), "table") == "a\n-\n"
    assert query_output.format_answer(run_query("SELECT 1 AS a WHERE false"), "csv") == "a\n"
    assert query_output.format_answer(run_query("SELECT 1 AS a WHERE false"), "json") == ""


def test_control_characters_are_replaced_in_tables() -> None:
    assert "\x1b" not in query_output.format_answer(run_query("SELECT chr(27) || '[2J' || chr(10) AS a"), "table")


def test_csv_and_json_keep_every_value() -> None:
    lines = list(csv.DictReader(io.StringIO(query_output.format_answer(run_query(), "csv"))))
    assert [line["name"] for line in lines] == ["a", "longer"]
    assert float(lines[1]["share"]) == 1 / 3
    objects = [json.loads(line) for line in query_output.format_answer(run_query(), "json").splitlines()]
    assert objects[1] == {"n": 30, "share": 1 / 3, "name": "longer", "flag": True}
    assert json.loads(query_output.format_answer(run_query("SELECT from_hex('0aff') AS b"), "json")) == {"b": "0aff"}


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for process in range(3):
        record_trees.write(tmp_path / "records", process=process, call_ns=np.full(100, 1000 + process))
    return tmp_path / "records"


@pytest.mark.parametrize(
    ("sql", "nearest"),
    [
        ("SELECT modl FROM records", "model"),
        ("SELECT count(*) FROM records WHERE VERDCT = 'valid'", "verdict"),
        ("SELECT r.p50log FROM records r", "p50_log"),
        ("SELECT model FROM records ORDER BY measuredat", "measured_at"),
    ],
)
def test_an_unknown_column_is_answered_with_the_nearest_and_the_query_that_lists_all(
    root: Path, sql: str, nearest: str
) -> None:
    with pytest.raises(EdgeproofError, match=f"Did you mean '{nearest}'.*edgeproof query \"FROM columns\""):
        main.run(["query", sql, "--records", str(root)])


def test_a_column_that_resembles_none_gets_no_suggestion(root: Path) -> None:
    with pytest.raises(EdgeproofError, match="there is no column 'zzz'") as error:
        main.run(["query", "SELECT zzz FROM records", "--records", str(root)])
    assert "Did you mean" not in str(error.value)


def test_a_query_that_is_not_utf_8_is_refused(root: Path) -> None:
    with pytest.raises(EdgeproofError, match="not valid UTF-8"):
        main.run(["query", "SELECT '\udc96'", "--records", str(root)])


def test_a_query_includes_new_records_unless_the_store_is_used_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["query", "SELECT count(*) AS n FROM records", "--format", "csv", "--records", str(root)]
    assert main.run(command) == 0
    record_trees.write(root, process=7, call_ns=np.full(100, 9))
    assert main.run([*command, "--as-is"]) == 0
    assert main.run(command) == 0
    assert capsys.readouterr().out == "n\n3\nn\n3\nn\n4\n"


def test_a_damaged_record_is_named_on_stderr_and_sets_the_exit_code(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(root.rglob("record.json"))
    path.write_text("{")
    assert main.run(["query", "SELECT count(*) AS n FROM records", "--records", str(root)]) == 1
    captured = capsys.readouterr()
    assert captured.out.split() == ["n", "-", "2"]
    assert str(path) in captured.err
    assert "Skipped 1 damaged record(s)." in captured.err


def test_migrated_records_have_the_same_content(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(root.rglob("record.json"))
    for path in paths[:2]:
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 1}))
        path.chmod(0o444)
    before = [record.content for record in record_files.read_all(root)]
    assert main.run(["query", "SELECT 1 FROM records", "--records", str(root)]) == 0
    assert "2 record(s) have an older schema" in capsys.readouterr().err
    assert main.run(["migrate", "--records", str(root)]) == 0
    assert capsys.readouterr().out == "local_onnx: rewrote 2 record(s) in the current schema\n"
    after = list(record_files.read_all(root))
    assert [record.content for record in after] == before
    assert {record.schema for record in after} == {record_files.SCHEMA}
    np.testing.assert_array_equal(after[0].read_array("latencies.npz", "call_ns"), np.full(100, 1000))
    assert main.run(["migrate", "--records", str(root)]) == 0
    assert capsys.readouterr().out == ""


def test_migration_keeps_and_names_unreadable_records(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, _ = sorted(root.rglob("record.json"))
    one.write_text("{")
    two.write_text(json.dumps({**json.loads(two.read_text()), "schema": 1}))
    assert main.run(["migrate", "--records", str(root)]) == 1
    assert str(one) in capsys.readouterr().err
    assert one.read_text() == "{"
    assert json.loads(two.read_text())["schema"] == record_files.SCHEMA
