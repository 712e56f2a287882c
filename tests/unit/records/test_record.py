"""The typed parts of a record: they have the values on disk, and a damaged part raises with its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.records import record_files
from edgeproof.records.outcomes import JobOutcome, LoadGenRun, RecordHeader
from edgeproof.records.record import Record
from edgeproof.records.record_parts import Commit, InterleavedResult, QualityResult, RecordIdentity
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support import record_trees

IDENTITY = RecordIdentity(
    study="study",
    task="task",
    device="local",
    session=3,
    session_id="abc",
    preset="quick",
    runtime="onnx",
    model="teacher",
    scheme="fp32",
    scenario="single_stream",
    process=1,
    attempt=2,
)
ARTIFACT = {"sha256": "a" * 64, "model": {"method": "train", "lineage": {}, "seed": 0}}
QUALITY = QualityResult.build("auc", Metric("AUC"), Estimate(0.75, 0.7, 0.8), 50)
HEADER_KEYS = {
    *("study", "task", "device", "session", "session_id", "preset", "runtime", "model", "scheme", "scenario"),
    *("process", "attempt", "compliance", "card", "commit", "artifact", "runner", "order", "measured_at"),
    *("schema", "files"),
}


def write(directory: Path, outcome: JobOutcome) -> Record:
    directory.mkdir()
    header = RecordHeader(
        IDENTITY,
        card={"emulated": False},
        commit={"id": "c0ffee", "modified": ["a.py"]},
        artifact=ARTIFACT,
        runner="f00d",
        order=7,
        measured_at="2026-01-02T03:04:05+00:00",
    )
    record_files.write(directory, header, outcome)
    return record_files.read(directory)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = LoadGenRun({"scenario": "SingleStream", "mode": "PerformanceOnly"}, {"drift": 0.5}, ["steal_cpus"], 2100)
    record = write(
        tmp_path / "r", JobOutcome("invalid", ["a busy machine"], disturbed=True, run=run, result={"status": "done"})
    )
    assert record.identity == IDENTITY
    assert record.identity.file_name == "single_stream.1.again2"
    assert (record.verdict, record.reasons, record.is_disturbed, record.is_unreachable) == (
        *("invalid", ("a busy machine",), True, False),
    )
    assert record.commit == Commit("c0ffee", ("a.py",))
    assert (record.order, record.runner_sha256, record.harness_p50_ns) == (7, "f00d", 2100)
    assert (record.performance_scenario, record.figures) == ("SingleStream", {"drift": 0.5})
    assert record.result is not None
    assert record.result.is_done
    assert record.artifact.model.method == "train"
    assert record.quality is record.interleaved is record.instructions is record.profile is record.estimate is None


@pytest.mark.parametrize(
    ("outcome", "keys"),
    [
        (JobOutcome("error", ["unreachable"], disturbed=True, unreachable=True), {"disturbed", "unreachable"}),
        (JobOutcome("unsupported", ["no kernels"]), set()),
        (
            JobOutcome("valid", run=LoadGenRun({}), result={}, quality=QUALITY),
            {"job", "figures", "unknown", "harness_p50_ns", "disturbed", "result", "quality"},
        ),
        (
            JobOutcome("valid", result={}, interleaved=InterleavedResult("teacher", "fp32", 500, 0.1)),
            {"result", "in_turns"},
        ),
        (JobOutcome("valid", profile={"missing": "no profiler"}), {"profile"}),
        (JobOutcome("valid", instructions={"per_inference": 5, "method": "perf"}), {"instructions"}),
        (JobOutcome("valid", estimate={"cycles": 5}), {"estimate"}),
    ],
)
def test_a_record_has_only_the_keys_of_its_kind(tmp_path: Path, outcome: JobOutcome, keys: set[str]) -> None:
    assert set(write(tmp_path / "r", outcome).content) == HEADER_KEYS | {"verdict", "reasons"} | keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": 5}, "'device' is 5, expected str"),
        ({"process": "1"}, "'process' is '1', expected int"),
        ({"compliance": 1}, "'compliance' is 1, expected str or null"),
        ({"device": None}, "'device' is None, expected str"),
    ],
)
def test_a_part_of_the_wrong_type_raises_with_its_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = record_trees.write(tmp_path, call_ns=[1]) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    record = record_files.read(path.parent)
    with pytest.raises(ArtifactError, match=message):
        _ = record.identity


@pytest.mark.parametrize(
    ("part", "key"), [("identity", "device"), ("artifact", "artifact.sha256"), ("job", "job.scenario")]
)
def test_a_missing_key_raises_with_its_path(tmp_path: Path, part: str, key: str) -> None:
    path = record_trees.write(tmp_path, call_ns=[1]) / "record.json"
    content = json.loads(path.read_text())
    *parents, name = key.split(".")
    (content[parents[0]] if parents else content).pop(name)
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=f"the key '{key}' is missing"):
        getattr(record_files.read(path.parent), part)


def test_keys_of_another_version_are_kept_and_ignored(tmp_path: Path) -> None:
    path = record_trees.write(tmp_path, call_ns=[1], new_key={"a": 1}) / "record.json"
    record = record_files.read(path.parent)
    assert record.content["new_key"] == {"a": 1}
    assert record.identity.device == "local"
