"""The store has the rows of the records, is updated session by session, and answers any query safely."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.records import parquet_parts, queries, record, record_files, store, summaries
from edgeproof.report import rows
from edgeproof.report.row import Row
from tests.support import record_trees

ROOT = Path(__file__).parents[3]
ORDER = {"devices": ["local", "board"], "models": ["teacher", "student"], "runtimes": ["onnx", "tflite"]}


def write_session(root: Path, runtime: str = "onnx", device: str = "local", **changes: Any) -> None:
    """Write a session of a teacher and a student, with three processes and an accuracy run each, and of the harness."""
    rng = np.random.default_rng(len(runtime) + len(device))
    where = {"runtime": runtime, "device": device, "session_of": runtime, **changes}
    for model, factor in (("teacher", 4), ("student", 1)):
        for process in range(3):
            durations = rng.lognormal(9, 0.1, 800) * factor
            record_trees.write(root, model=model, process=process, call_ns=durations, **where)
        record_trees.write(root, "accuracy", model=model, correct=rng.random(300) < 0.9, **where)
        record_trees.write(root, "offline", model=model, log={"result_samples_per_second": 70.0 * factor}, **where)
    record_trees.write(root, "server", model="student", verdict="invalid", reasons=['it\'s "late"'], **where)
    log = {"result_50.00_percentile_latency_ns": 2100}
    record_trees.write(root, log=log, **{**where, "runtime": "null"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "results/records"
    write_session(root)
    write_session(root, "tflite", "board")
    return root


def print_rows(rows_to_print: list[Row]) -> list[str]:
    """Return rows as texts, which can be compared: since Python 3.13 a dataclass that holds NaN differs from itself."""
    return [repr(row) for row in rows_to_print]


def read_rows_from_store(root: Path, **chosen: Any) -> list[Row]:
    return rows.build_rows(queries.read_last_sessions(root, order=ORDER, **chosen), baseline="teacher", order=ORDER)


def read_rows_from_records(root: Path) -> list[Row]:
    return rows.read_rows(root, baseline="teacher", order=ORDER)


def query_value(root: Path, sql: str) -> Any:
    row = queries.ask(sql, root).fetchone()
    assert row is not None
    return row[0]


# --- the same figures ----------------------------------------------------------------------------------------------


def test_rows_from_the_store_equal_rows_from_the_records(root: Path) -> None:
    assert store.refresh(root).records == 24
    rows_from_store = read_rows_from_store(root)
    assert print_rows(rows_from_store) == print_rows(read_rows_from_records(root))
    assert len(rows_from_store) == 4
    assert all(row.p50_ns and row.harness_p50_ns and row.quality for row in rows_from_store)
    assert {row.verdict for row in rows_from_store} == {"valid", "invalid"}


def test_every_column_keeps_its_value(root: Path) -> None:
    store.refresh(root)
    lines = {line.path: line for line in summaries.summarize_records(record_files.read_all(root), root)}
    answer = queries.ask("SELECT * FROM records", root)
    names = [column[0] for column in answer.description]
    for values in answer.fetchall():
        columns = dict(zip(names, values, strict=True))
        line = lines[columns["path"]]
        for name, value in columns.items():
            expected = getattr(line, name)
            if name == "quantiles_ns" and expected is not None:
                np.testing.assert_allclose(value, expected, rtol=1e-6)
            else:
                assert (tuple(value) if isinstance(value, list) else value) == expected, name


def test_the_last_session_of_a_cell_is_its_row(root: Path) -> None:
    write_session(root, session_of="later", session_id="later", measured_at="2026-02-03T00:00:00+00:00", session=9)
    store.refresh(root)
    assert print_rows(read_rows_from_store(root)) == print_rows(read_rows_from_records(root))
    assert {row.session for row in read_rows_from_store(root) if row.device == "local"} == {9}
    assert query_value(root, "SELECT count(*) FROM records WHERE device = 'local'") == 24
    assert sorted(path.name for path in store.locate(root).glob("device=local/*")) == [
        "month=2026-01.parquet",
        "month=2026-02.parquet",
    ]


def test_only_the_selected_names_are_read(root: Path) -> None:
    record_trees.write(root, model="student", scheme="int8-static", call_ns=np.full(100, 500))
    store.refresh(root)
    chosen = {**ORDER, "devices": ["board"]}
    assert {line.device for line in queries.read_last_sessions(root, order=chosen)} == {"board"}


def test_the_night_of_a_session_is_the_day_on_which_it_began(root: Path) -> None:
    for process, day in ((5, "2026-03-01T23:59:00+00:00"), (6, "2026-03-02T00:30:00+00:00")):
        changes = {"session_of": "night", "session_id": "n", "measured_at": day}
        record_trees.write(root, process=process, call_ns=np.full(100, 5), **changes)
    store.refresh(root)
    assert query_value(root, "SELECT list(DISTINCT night) FROM records WHERE session_id = 'n'") == ["2026-03-01"]


# --- keeping up ----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of the sessions that are read."""
    seen: list[str] = []
    original = record_files.read_all

    def read_and_note(place: Path, **options: Any) -> Iterator[record.Record]:
        seen.append(place.name)
        return original(place, **options)

    monkeypatch.setattr(record_files, "read_all", read_and_note)
    return seen


def test_unchanged_sessions_are_not_read_again(root: Path, read_sessions: list[str]) -> None:
    state = store.refresh(root)
    assert read_sessions == ["board_tflite", "local_onnx"]
    assert store.refresh(root) == state
    assert len(read_sessions) == 2


def test_only_a_session_with_a_new_or_changed_record_is_read_again(root: Path, read_sessions: list[str]) -> None:
    store.refresh(root)
    read_sessions.clear()
    record_trees.write(root, process=7, call_ns=np.full(100, 5))
    store.refresh(root)
    assert read_sessions == ["local_onnx"]
    assert print_rows(read_rows_from_store(root)) == print_rows(read_rows_from_records(root))
    read_sessions.clear()
    path = next((root / "board_tflite").rglob("record.json"))
    path.write_text(path.read_text() + "\n")
    store.refresh(root)
    assert read_sessions == ["board_tflite"]


def test_a_file_system_without_hard_links_needs_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    store.refresh(root)
    monkeypatch.setattr(os, "link", refuse_link)
    record_trees.write(root, process=7, call_ns=np.full(100, 5))
    store.refresh(root)
    assert print_rows(read_rows_from_store(root)) == print_rows(read_rows_from_records(root))


def test_a_deleted_session_is_removed_from_the_store(root: Path) -> None:
    store.refresh(root)
    shutil.rmtree(root / "board_tflite")
    assert store.refresh(root).records == 12
    assert query_value(root, "SELECT list(DISTINCT device) FROM records") == ["local"]
    shutil.rmtree(root)
    assert store.refresh(root).records == 0
    assert query_value(root, "SELECT count(*) FROM records") == 0


@pytest.mark.parametrize("harm", ["index", "part", "code"])
def test_a_store_that_is_damaged_or_of_another_version_is_rebuilt(
    root: Path, harm: str, read_sessions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.refresh(root)
    before = read_rows_from_store(root)
    read_sessions.clear()
    if harm == "index":
        (store.locate(root) / store.INDEX).write_text("{")
    elif harm == "part":
        next(store.locate(root).glob("device=*/*")).unlink()
    else:
        monkeypatch.setattr(store, "MAKERS", [*store.MAKERS, Path(__file__)])
    store.refresh(root)
    assert len(read_sessions) == 2
    assert print_rows(read_rows_from_store(root)) == print_rows(before)


def test_a_failed_refresh_keeps_the_store_unchanged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.refresh(root)
    before = {path: path.read_bytes() for path in store.locate(root).rglob("*") if path.is_file()}
    record_trees.write(root, process=7, call_ns=np.full(100, 5))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet_parts, "merge_part", full)
    with pytest.raises(EdgeproofError, match="No space left"):
        store.refresh(root)
    assert {path: path.read_bytes() for path in store.locate(root).rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in root.parent.iterdir()) == [".store.lock", "records", "store"]


def test_many_processes_at_once_count_every_record_exactly_once(root: Path) -> None:
    command = [sys.executable, "-m", "tests.support.store_load", str(root), "4"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert len(process.stdout.splitlines()) == 18  # one line for each reader
    assert sorted(path.name for path in root.parent.iterdir()) == [".store.lock", "records", "store"]


# --- bad records ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["cut", "array", "lacks", "newer"])
def test_a_damaged_record_is_listed_and_skipped(root: Path, harm: str) -> None:
    victim = root / "local_onnx/onnx/student.fp32/single_stream.1"
    path = victim / "record.json"
    content = json.loads(path.read_text())
    if harm == "cut":
        path.write_text(path.read_text()[:100])
    elif harm == "array":
        (victim / "latencies.npz").write_bytes(b"x")
    else:
        content.pop("artifact") if harm == "lacks" else content.update(schema=99)
        path.write_text(json.dumps(content))
    state = store.refresh(root)
    assert state.records == 23
    assert len(state.damaged) == 1
    assert "student.fp32/single_stream.1" in state.damaged[0]
    assert store.refresh(root).damaged == state.damaged
    assert query_value(root, f"SELECT count(*) FROM records WHERE path = '{victim.as_posix()}'") == 0


def test_records_of_an_older_schema_are_counted(root: Path) -> None:
    path = next((root / "local_onnx").rglob("record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 1}))
    state = store.refresh(root)
    assert (state.older, state.damaged) == (1, [])
    assert query_value(root, "SELECT count(*) FROM records WHERE schema_on_disk = 1") == 1


@pytest.mark.parametrize("device", ["../../outside", "a'b", "x/y", "ü €", "month=1", ""])
def test_a_hostile_device_name_stays_inside_the_store(tmp_path: Path, device: str) -> None:
    root = tmp_path / "results/records"
    path = record_trees.write(root, call_ns=np.full(100, 5)) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": device}))
    assert store.refresh(root).damaged == []
    assert query_value(root, "SELECT device FROM records") == device
    assert len(list(store.locate(root).glob("device=*/*.parquet"))) == 1


# --- asking --------------------------------------------------------------------------------------------------------


def test_the_answer_of_a_query_converts_to_a_data_frame(root: Path) -> None:
    store.refresh(root)
    frame = queries.ask(
        "SELECT model, exp(avg(p50_log)) AS p50 FROM records WHERE device = 'local' GROUP BY 1", root
    ).df()
    row = next(row for row in read_rows_from_records(root) if (row.device, row.model) == ("local", "teacher"))
    assert row.p50_ns is not None
    assert frame.set_index("model").loc["teacher", "p50"] == pytest.approx(row.p50_ns.value)


def test_the_view_columns_describes_every_column(root: Path) -> None:
    store.refresh(root)
    described = queries.ask("FROM columns", root).fetchall()
    actual = queries.ask("SELECT column_name, column_type FROM (DESCRIBE records)", root).fetchall()
    assert [(name, sql_type) for name, sql_type, _ in described] == actual
    assert all(description for _, _, description in described)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{tmp}/out.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{tmp}/secret')",
        "ATTACH '{tmp}/x.db'",
        "DROP VIEW records",
        "SET enable_external_access = true",
        "SELECT 1; DROP VIEW records",
        "SELEC 1",
        "SELECT nothing FROM records",
        "",
    ],
)
def test_a_query_can_only_read_the_store(root: Path, tmp_path: Path, sql: str) -> None:
    store.refresh(root)
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(EdgeproofError, match="query"):
        queries.ask(sql.format(tmp=tmp_path), root)
    assert not (tmp_path / "out.csv").exists()


def test_without_records_the_answer_is_empty(tmp_path: Path) -> None:
    root = tmp_path / "records"
    assert store.refresh(root) == store.StoreState()
    assert not store.locate(root).exists()
    assert query_value(root, "SELECT count(p50_log) FROM records") == 0
    assert queries.read_last_sessions(root, order=ORDER) == []
    assert queries.list_names(root) == {"devices": [], "models": [], "runtimes": [], "schemes": []}


def test_the_files_are_plain_parquet(root: Path) -> None:
    store.refresh(root)
    files = f"{store.locate(root)}/*/*.parquet"
    counts = duckdb.sql(f"SELECT count(*), count(DISTINCT path) FROM read_parquet('{files}')").fetchall()
    assert counts == [(24, 24)]
