"""Trace a cell back to the data: every link has its hash, is checked on disk, and is reported when it is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.directories import content_sha256, read_meta, write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import cells, explanation, lineage, reproduce
from tests.support import record_trees

NETWORK = {"name": "net", "options": {"widths": [1, 2]}, "input_shape": [1], "classes": 2}


def write_directory(directory: Path, **meta: Any) -> str:
    directory.mkdir(parents=True)
    (directory / "weights").write_text(str(directory))
    write_meta(directory, meta)
    return content_sha256(read_meta(directory))


def describe_model(name: str, data: str, lineage_: dict[str, Any], **more: Any) -> dict[str, Any]:
    described = {"name": name, "task": "shapes", "method": "train", "options": {"epochs": 3}, "seed": 0, **more}
    return {**described, "lineage": lineage_, "data_sha256": data, "network": NETWORK, "validation_quality": 0.5}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create data, a teacher, its student, the pruned student, an artifact of that and one record of it."""
    monkeypatch.chdir(tmp_path)
    data = write_directory(Path("data/shapes/build"), task="shapes")
    teacher = write_directory(Path("models/teacher"), **describe_model("teacher", data, {}))
    learnt = {"teacher": {"name": "teacher", "sha256": teacher}}
    student = write_directory(Path("models/student"), **describe_model("student", data, learnt, method="distill"))
    from_student = {"parent": {"name": "student", "sha256": student}}
    slim = describe_model("slim", data, from_student, method="prune", parameters=1, macs=2, weight_sparsity=0.0)
    sha256 = write_directory(Path("models/slim"), **slim)
    artifact = write_directory(Path("artifacts/onnx/slim/fp32"), runtime="onnx")
    record_trees.write(
        Path("results/records"),
        model="slim",
        call_ns=np.full(100, 2000),
        artifact={"sha256": artifact, "lowered": ["model.onnx"], "packages": {"onnx": "1.2"}},
        described={**slim, "sha256": sha256},
        commit={"id": "c" * 40, "modified": ["edgeproof/x.py"]},
        runner="d" * 64,
    )
    return tmp_path


def trace() -> list[lineage.LineageLink]:
    root = Path("results/records")
    return lineage.trace_lineage(cells.find_cell("slim", root), root)


def test_the_lineage_leads_from_the_record_to_the_data(project: Path) -> None:
    traced = [(link.role, link.name, link.stored.state) for link in trace()]
    assert traced == [
        ("record", "single_stream.0", "intact"),
        ("artifact", "slim fp32 for onnx", "intact"),
        ("model", "slim", "intact"),
        ("parent", "student", "intact"),
        ("teacher", "teacher", "intact"),
        ("data", "shapes", "intact"),
    ]
    assert not any(link.missing for link in trace())


def test_the_explanation_has_hashes_options_versions_commit_and_the_command(project: Path) -> None:
    root = Path("results/records")
    text = explanation.explain(cells.find_cell("slim", root), root)
    for link in trace():
        assert link.sha256[:12] in text
    for word in (
        "epochs 3",
        "widths [1, 2]",
        "onnx 1.2",
        "c" * 40,
        "edgeproof/x.py",
        "validation quality: 0.5",
        "numpy 2.0",
    ):
        assert word in text
    assert text.splitlines()[-1] == "make it again: edgeproof reproduce local/onnx/slim/fp32"


def test_another_build_in_the_place_of_an_artifact_is_reported(project: Path) -> None:
    shutil.rmtree("artifacts/onnx/slim/fp32")
    other = write_directory(Path("artifacts/onnx/slim/fp32"), runtime="onnx", more=1)
    assert other == content_sha256(read_meta(Path("artifacts/onnx/slim/fp32")))
    (Path("artifacts/onnx/slim/fp32") / "weights").write_text("other")
    assert next(link for link in trace() if link.role == "artifact").stored.state.startswith("damaged")
    write_meta(Path("artifacts/onnx/slim/fp32"), {"runtime": "onnx"})
    assert next(link for link in trace() if link.role == "artifact").stored.state.startswith("another build is there")


def test_a_record_with_a_changed_array_is_reported_as_damaged(project: Path) -> None:
    path = next(project.rglob("latencies.npz"))
    path.write_bytes(path.read_bytes() + b"x")
    assert trace()[0].stored.state.startswith("damaged")
    root = Path("results/records")
    assert "no figure: " in explanation.explain(cells.find_cell("slim", root), root)


def test_a_missing_parent_is_reported_with_the_command_that_restores_it(project: Path) -> None:
    shutil.rmtree("models/student")
    student = next(link for link in trace() if link.name == "student")
    assert student.missing
    assert not [link for link in trace() if link.name == "teacher"]
    root = Path("results/records")
    text = explanation.explain(cells.find_cell("slim", root), root)
    assert f"missing: parent student ({student.sha256[:12]})" in text
    assert "'dvc pull' or 'dvc repro'" in text


def test_a_missing_parent_is_described_by_the_records_of_its_own_artifact(project: Path) -> None:
    meta = read_meta(Path("models/student"))
    described = {**meta, "sha256": content_sha256(meta), "parameters": 1, "macs": 2, "weight_sparsity": 0.0}
    record_trees.write(Path("results/records"), model="student", described=described)
    shutil.rmtree("models/student")
    by_name = {link.name: link for link in trace()}
    assert not by_name["student"].missing
    assert by_name["student"].stored.state == "not on this machine"
    assert by_name["teacher"].stored.state == "intact"


def test_the_lineage_of_an_external_model_ends_at_its_file_and_cannot_be_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("results/brought/mine/records")
    unknown = dict.fromkeys(("seed", "parameters", "macs", "weight_sparsity", "network", "validation_quality"))
    parent = {"parent": {"name": "mine.onnx", "sha256": "a" * 64}}
    described = {"name": "mine", "task": "random inputs", "method": "brought", "options": {}, "data_sha256": None}
    record_trees.write(
        root,
        model="mine",
        scheme="as-is",
        call_ns=np.full(100, 2000),
        study="mine",
        described={**unknown, **described, "lineage": parent, "sha256": "a" * 64},
        artifact={"sha256": write_directory(Path(".edgeproof/brought/mine/onnx/mine/as-is"), runtime="onnx")},
    )
    cell = cells.find_cell("mine", root)
    traced = [(link.role, link.name, link.stored.state) for link in lineage.trace_lineage(cell, root)]
    assert traced[1] == ("artifact", "mine as-is for onnx", "intact")
    assert traced[-1] == ("parent", "mine.onnx", "not on this machine")
    assert explanation.explain(cell, root).splitlines()[-1] == "measure it again: edgeproof bench"
    with pytest.raises(EdgeproofError, match="it came as a file"):
        next(reproduce.reproduce([cell], measure=False))
    assert main.run(["publish", "--records", str(root)]) == 0
