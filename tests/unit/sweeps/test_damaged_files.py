"""Damaged files of a sweep: its request, journal, outcomes, failures and tables. None of them gives a traceback."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core import file_locks
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.sweeps import results, sweep, worktree_pool
from edgeproof.sweeps.outcomes import JournalEntry, ModelSummary, PointFailure, PointOutcome
from edgeproof.sweeps.points import CodeVersion, ComposedPoint, SweepPoint, SweepRequest
from edgeproof.sweeps.store import JOURNAL_FILE, POINT_FILE, SweepStore
from tests.support.damaged_json import HUGE, damage
from tests.support.sweep_points import StubStarter

pytestmark = pytest.mark.usefixtures("empty_project")

CODE = CodeVersion("c" * 64, "h" * 40, ("edgeproof/entry.py",))
ENTRY = JournalEntry("d1", "train@teacher", "k", "ran", 1.5)
REQUEST = SweepRequest((SweepPoint(("a=1",), "d1"),), CODE, ("quality",), {"size_bytes": 10.0})
OUTCOME = PointOutcome(("a=1",), CODE, {"teacher": ModelSummary("b" * 64, 0.9)}, [ENTRY], "s-d1")
FAILURE = PointFailure("too low", 0.1, 0.9)


@given(damage({"schema": 1, **REQUEST.to_json()}))
def test_a_damaged_request_is_read_whole_or_named(content: bytes) -> None:
    store = SweepStore("s")
    store.directory.mkdir(parents=True, exist_ok=True)
    (store.directory / "sweep.json").write_bytes(content)
    try:
        request = store.read_request()
    except EdgeproofError as error:
        named = str(error)
        assert str(store.directory / "sweep.json") in named
        return
    assert all(isinstance(text, str) for point in request.points for text in (*point.overrides, point.digest))
    json.dumps(request.to_json())


@given(damage(ENTRY.to_json()).filter(lambda line: len(line.splitlines()) == 1))
def test_a_damaged_line_of_the_journal_is_skipped_and_counted(line: bytes) -> None:
    store = SweepStore("s")
    store.directory.mkdir(parents=True, exist_ok=True)
    good = json.dumps(ENTRY.to_json()).encode()
    (store.directory / JOURNAL_FILE).write_bytes(b"\n".join([good, line, good, b""]))
    entries = store.read_journal()
    assert (entries[0], entries[-1]) == (ENTRY, ENTRY)
    assert len(entries) + store.count_damaged_entries() == 3
    for entry in entries:
        assert isinstance(entry.duration_s, float)
        assert hash(entry) is not None


@given(damage(OUTCOME.to_json()))
def test_a_damaged_outcome_is_read_whole_or_named_with_what_to_remove(content: bytes) -> None:
    store = SweepStore("s")
    directory = store.point_directory("d1")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / POINT_FILE).write_bytes(content)
    with suppress(EdgeproofError):
        outcome = store.read_outcome("d1")
        assert outcome is not None
        json.dumps(outcome.to_json())
        return
    with pytest.raises(EdgeproofError, match=rf"{POINT_FILE} is damaged\. Remove the point with 'rm -r {directory}'"):
        store.read_status("d1")


@given(damage(FAILURE.to_json()))
def test_a_damaged_failure_is_a_failure_that_is_tried_again(content: bytes) -> None:
    store = SweepStore("s")
    store.write_failure("d1", FAILURE)
    (path,) = (store.directory / "failed").iterdir()
    path.write_bytes(content)
    assert store.read_status("d1") in ("failed", "stopped")
    failure = store.read_failure("d1")
    assert failure is not None
    json.dumps(failure.to_json()).encode()
    store.clear_failure("d1")
    assert store.read_status("d1") == "waiting"


@given(data=st.data())
def test_a_damaged_table_of_a_point_is_read_whole_or_named(data: st.DataObject, grid: list[ComposedPoint]) -> None:
    store = SweepStore("s")
    if not store.directory.exists():
        sweep.run_sweep("s", grid[:1], starter=StubStarter())
    (point,) = store.read_request().points
    path = store.point_directory(point.digest) / "tables" / "table.json"
    original = path.read_bytes()
    table = json.loads(original)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damage(table)))
    else:
        row = data.draw(damage(table["rows"][0]))
        path.write_bytes(b'{"rows": [' + row + b"]}")
    try:
        with suppress(EdgeproofError):
            for row in results.read_point_rows(store, point):
                for name in results.FIGURE_NAMES:
                    row.get_figure(name)
    finally:
        path.write_bytes(original)
    assert results.read_point_rows(store, point)


def test_a_sweep_with_a_damaged_journal_names_it_and_runs(
    grid: list[ComposedPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    store = SweepStore("s")
    store.directory.mkdir(parents=True)
    (store.directory / JOURNAL_FILE).write_bytes(b"\xff\x00\n{}\n5\n")
    assert sweep.run_sweep("s", grid[:1], starter=StubStarter()) == 0
    assert f"skipped: {store.directory / JOURNAL_FILE} has 3 damaged line(s)" in capsys.readouterr().err


@pytest.mark.parametrize("content", [*HUGE[:4], b"", b"5", b"[]", b'"x"', b"{}", b'{"name": "x"}'])
def test_a_second_sweep_is_refused_when_the_name_of_the_first_is_damaged(content: bytes) -> None:
    write_json(sweep.RUNNING_SWEEP, {})
    sweep.RUNNING_SWEEP.write_bytes(content)
    with (
        file_locks.hold(worktree_pool.LOCKS / "sweep"),
        pytest.raises(ConfigError, match="another sweep is starting here"),
        sweep.hold_sweep_lock("second"),
    ):
        pass
