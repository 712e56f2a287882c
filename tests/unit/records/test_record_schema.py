"""The published JSON Schema of records is current, and accepts what edgeproof writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from edgeproof.cli import main
from edgeproof.records import record_files
from edgeproof.records.outcomes import JobOutcome, LoadGenRun, RecordHeader
from edgeproof.records.record_parts import InterleavedResult, PreprocessingResult, QualityResult, RecordIdentity
from edgeproof.records.record_schema import build_record_schema
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY
from tests.support import record_trees
from tests.support.project import ROOT

PUBLISHED = ROOT / f"edgeproof/records/schema/record-{record_files.SCHEMA}.schema.json"
VALIDATOR = Draft202012Validator(build_record_schema())
EXAMPLES = sorted(ROOT.glob("tests/fixtures/submission/official/**/record.json"))


def test_the_published_schema_is_that_of_the_dataclasses() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published == build_record_schema(), f"run: edgeproof schema record > {PUBLISHED.relative_to(ROOT)}"
    Draft202012Validator.check_schema(published)


def test_the_command_prints_the_published_schema_outside_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["schema", "record"]) == 0
    assert capsys.readouterr().out == PUBLISHED.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_records_of_real_runs_are_valid(path: Path) -> None:
    VALIDATOR.validate(dict(record_files.read(path.parent).content))


def test_a_record_with_every_part_that_the_bench_writes_is_valid_and_fully_described(tmp_path: Path) -> None:
    header = RecordHeader(
        RecordIdentity("study", "task", "local", 1, "id", "quick", "onnx", "teacher", "fp32", "accuracy", 0, 0),
        card={"transport": "local", "budget": {"size_mb": 1.0}},
        commit={"id": "a" * 40, "modified": ["conf/x.yaml"]},
        artifact={"sha256": "0", "model": {"method": "train", "lineage": {}}},
        runner="abc",
        order=0,
        measured_at="2026-01-02T03:04:05+00:00",
        processes=3,
    )
    outcome = JobOutcome(
        "invalid",
        ["too short"],
        disturbed=True,
        unreachable=True,
        run=LoadGenRun({"scenario": "SingleStream"}, {"drift": 0.1}, ["steal_cpus"], 1000.0, {"drift": 0.2}),
        result={"status": "done", "versions": {"numpy": None}},
        quality=QualityResult.build("accuracy", ACCURACY, Estimate(0.5, 0.4, 0.6), 10),
        interleaved=InterleavedResult("teacher", "fp32", 100, 0.1),
        profile={"missing": "not supported"},
        placement={"missing": "not supported"},
        instructions={"per_inference": 1000, "method": "perf"},
        estimate={"tool": "vela"},
        preprocessing=PreprocessingResult(
            (100, 200), "noise", {"numpy": None}, {"steady": True}, {"before": {}}, "busy"
        ),
    )
    record_files.write(tmp_path, header, outcome)
    content = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    VALIDATOR.validate(content)
    assert content.keys() <= build_record_schema()["properties"].keys()


@pytest.mark.parametrize("change", [{"verdict": "good"}, {"order": "first"}, {"reasons": None}, {"schema": 2}])
def test_a_record_with_a_wrong_value_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    directory = record_trees.write(tmp_path, call_ns=[100] * 20, order=1)
    content = dict(record_files.read(directory).content)
    assert VALIDATOR.is_valid(content)
    assert not VALIDATOR.is_valid({**content, **change})
