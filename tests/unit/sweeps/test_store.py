"""Tests of the format of a sweep's files."""

from __future__ import annotations

import json

import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.sweeps.outcomes import JournalEntry, ModelSummary, PointFailure, PointOutcome
from edgeproof.sweeps.points import CodeVersion, SweepPoint, SweepRequest
from edgeproof.sweeps.store import SweepStore

pytestmark = pytest.mark.usefixtures("empty_project")

CODE = CodeVersion("c" * 64, "h" * 40, ("edgeproof/entry.py",))
ENTRY = JournalEntry("d1", "train@teacher", "k", "ran", 1.5)


def test_a_request_is_read_as_it_was_written_with_the_keys_of_schema_1() -> None:
    store = SweepStore("s")
    request = SweepRequest((SweepPoint(("a=1",), "d1"),), CODE, ("quality",), {"size_bytes": 10.0})
    store.write_request(request)
    assert store.read_request() == request
    assert json.loads((store.directory / "sweep.json").read_text()) == {
        "schema": 1,
        "points": [{"overrides": ["a=1"], "digest": "d1"}],
        "code": {"sha256": "c" * 64, "head": "h" * 40, "changed": ["edgeproof/entry.py"]},
        "objectives": ["quality"],
        "limits": {"size_bytes": 10.0},
    }


def test_a_request_of_another_schema_is_refused() -> None:
    store = SweepStore("s")
    store.directory.mkdir(parents=True)
    (store.directory / "sweep.json").write_text('{"schema": 99}')
    with pytest.raises(EdgeproofError, match="Run the sweep again"):
        store.read_request()


def test_a_journal_entry_is_read_as_it_was_written_and_a_torn_line_is_skipped() -> None:
    store = SweepStore("s")
    store.append_journal(ENTRY)
    path = store.directory / "journal.jsonl"
    line = path.read_text()
    assert json.loads(line) == {"point": "d1", "stage": "train@teacher", "key": "k", "outcome": "ran", "seconds": 1.5}
    path.write_text(line + line[:-5])
    assert store.read_journal() == [ENTRY]


def test_an_outcome_is_read_as_it_was_written() -> None:
    store = SweepStore("s")
    outcome = PointOutcome(("a=1",), CODE, {"teacher": ModelSummary("b" * 64, 0.9)}, [ENTRY], "s-d1")
    store.write_outcome(store.point_directory("d1"), outcome)
    assert store.read_outcome("d1") == outcome
    content = json.loads((store.point_directory("d1") / "point.json").read_text())
    assert set(content) == {"overrides", "code", "models", "stages", "experiment"}


@pytest.mark.parametrize(
    ("failure", "status", "content"),
    [
        (PointFailure("it broke"), "failed", {"reason": "it broke", "excess": None}),
        (PointFailure("too low", 0.1, 0.9), "stopped", {"reason": "too low", "excess": 0.1, "limit": 0.9}),
    ],
)
def test_a_failure_is_read_as_it_was_written(failure: PointFailure, status: str, content: dict[str, object]) -> None:
    store = SweepStore("s")
    store.write_failure("d1", failure)
    assert store.read_failure("d1") == failure
    assert store.read_status("d1") == status
    assert json.loads((store.directory / "failed" / "d1.json").read_text()) == content


def test_a_request_and_an_outcome_of_earlier_versions_are_read_with_the_new_names() -> None:
    request = SweepRequest((SweepPoint(("a=1",), "d1"),), CODE, ("quality", "p50_us"), {"validation_quality": 0.5})
    content = request.to_json()
    former = {"objectives": ["accuracy", "p50_us"], "limits": {"validation_accuracy": 0.5}}
    assert SweepRequest.from_json({**content, **former}) == request
    model = ModelSummary("b" * 64, 0.9)
    assert ModelSummary.from_json({"sha256": "b" * 64, "validation_accuracy": 0.9}) == model
    assert ModelSummary.from_json(model.to_json()) == model
