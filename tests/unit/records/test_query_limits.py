"""Queries end in time, stay within their memory, and leave no file behind."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.records import queries, query_limits, query_output, store
from tests.support import record_trees

ENDLESS = "SELECT sum(a * b) FROM range(100000000) t(a), range(100000) u(b)"
LARGE = "SELECT a, repeat('x', 200) || a AS text FROM range(2000000) t(a) ORDER BY text"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a record, and keep the temporary files and the working directory in directories of the test."""
    for name in ("scratch", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "work")
    record_trees.write(tmp_path / "records", call_ns=np.full(100, 1000))
    store.refresh(tmp_path / "records")
    return tmp_path / "records"


def run_query(root: Path, sql: str, *options: str) -> int:
    return main.run(["query", sql, "--records", str(root), *options])


def list_leftovers(root: Path) -> list[Path]:
    return [path for name in ("scratch", "work") for path in (root.parent / name).iterdir()]


@pytest.mark.parametrize("sql", [ENDLESS, "SELECT * FROM range(100000000000)"])
def test_a_query_ends_after_its_time(root: Path, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_output, "MAX_ROWS", 10**12)
    started_s = time.monotonic()
    with pytest.raises(EdgeproofError, match=r"was ended after 0\.5 s.*--timeout-s"):
        run_query(root, sql, "--timeout-s", "0.5")
    assert time.monotonic() - started_s < 20
    assert list_leftovers(root) == []


def test_a_query_that_exceeds_its_memory_and_its_temporary_files_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_limits, "MEMORY_LIMIT", "100MB")
    monkeypatch.setattr(query_limits, "SPILL_LIMIT", "20MB")
    with pytest.raises(EdgeproofError, match="needs more than 100MB of memory and 20MB of temporary files"):
        run_query(root, LARGE)
    assert list_leftovers(root) == []


def test_a_query_may_use_temporary_files_and_removes_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_limits, "MEMORY_LIMIT", "100MB")
    answer = queries.ask(LARGE, root)
    assert answer.fetchmany(1) == [(0, "x" * 200 + "0")]
    assert any((root.parent / "scratch").rglob("*.tmp"))
    del answer
    assert list_leftovers(root) == []


def test_an_answer_has_a_limit_of_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_output, "MAX_ROWS", 5000)
    with pytest.raises(EdgeproofError, match=r"more than 5,000 rows\. Add a LIMIT"):
        run_query(root, "SELECT * FROM range(7000)")


def test_an_answer_does_not_change_while_the_store_is_replaced(root: Path) -> None:
    record_trees.write(root, process=1, call_ns=np.full(100, 1000))
    store.refresh(root)
    before = queries.connect(store.locate(root))
    for process in range(2, 5):
        record_trees.write(root, process=process, call_ns=np.full(100, 1000))
        store.refresh(root)
    assert before.execute("SELECT count(*) FROM records").fetchone() == (2,)
    assert queries.connect(store.locate(root)).execute("SELECT count(*) FROM records").fetchone() == (5,)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_a_time_limit_must_be_a_positive_number(root: Path, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_query(root, "SELECT 1", "--timeout-s", seconds)
    assert "--timeout-s" in capsys.readouterr().err


def test_the_help_names_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["query", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for limit in (f"{query_limits.TIMEOUT_S:g}", "512 MB", "1 GB", f"{query_output.MAX_ROWS:,}"):
        assert limit in text
    assert (query_limits.MEMORY_LIMIT, query_limits.SPILL_LIMIT) == ("512MB", "1GB")


def test_the_progress_bar_is_off_and_not_set_where_it_is_off_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    class Notebook:
        """A connection in a notebook without ipywidgets: the bar is off, and DuckDB refuses to set it."""

        def __init__(self) -> None:
            self.connection = connect()
            self.connection.execute("SET enable_progress_bar = false")

        def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
            if sql.startswith("SET enable_progress_bar"):
                raise duckdb.InvalidInputException("required package 'ipywidgets' is missing")
            return self.connection.execute(sql)

    question = "SELECT current_setting('enable_progress_bar')"
    assert query_limits.open_connection(tmp_path / "a").execute(question).fetchone() == (False,)
    monkeypatch.setattr(duckdb, "connect", Notebook)
    assert query_limits.open_connection(tmp_path / "b").execute(question).fetchone() == (False,)
