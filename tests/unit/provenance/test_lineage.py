"""From a cell back to the data: every link is named by its hash, checked where it lies, and missed where it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.directories import content_sha256, read_meta, write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import cells, lineage, reproduce
from tests.support import record_trees

NETWORK = {"name": "net", "options": {"widths": [1, 2]}, "input_shape": [1], "classes": 2}


def make(directory: Path, **meta: Any) -> str:
    directory.mkdir(parents=True)
    (directory / "weights").write_text(str(directory))
    write_meta(directory, meta)
    return content_sha256(read_meta(directory))


def model(name: str, data: str, lineage_: dict[str, Any], **more: Any) -> dict[str, Any]:
    described = {"name": name, "task": "shapes", "method": "train", "options": {"epochs": 3}, "seed": 0, **more}
    return {**described, "lineage": lineage_, "data_sha256": data, "network": NETWORK, "validation_accuracy": 0.5}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data, a teacher, a student of it, the student pruned, its artifact and one record of that."""
    monkeypatch.chdir(tmp_path)
    data = make(Path("data/shapes/build"), task="shapes")
    teacher = make(Path("models/teacher"), **model("teacher", data, {}))
    learnt = {"teacher": {"name": "teacher", "sha256": teacher}}
    student = make(Path("models/student"), **model("student", data, learnt, method="distill"))
    from_student = {"parent": {"name": "student", "sha256": student}}
    slim = model("slim", data, from_student, method="prune", parameters=1, macs=2, weight_sparsity=0.0)
    sha256 = make(Path("models/slim"), **slim)
    artifact = make(Path("artifacts/onnx/slim/fp32"), runtime="onnx")
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


def links() -> list[lineage.LineageLink]:
    root = Path("results/records")
    return lineage.trace_lineage(cells.find_cell("slim", root), root)


def test_the_chain_leads_from_the_record_to_the_data(project: Path) -> None:
    told = [(link.role, link.name, link.state) for link in links()]
    assert told == [
        ("record", "single_stream.0", "intact"),
        ("artifact", "slim fp32 for onnx", "intact"),
        ("model", "slim", "intact"),
        ("parent", "student", "intact"),
        ("teacher", "teacher", "intact"),
        ("data", "shapes", "intact"),
    ]
    assert not any(link.missing for link in links())


def test_the_words_carry_hashes_options_versions_commit_and_the_command(project: Path) -> None:
    root = Path("results/records")
    text = lineage.explain(cells.find_cell("slim", root), root)
    for link in links():
        assert link.sha256[:12] in text
    for word in ("epochs 3", "widths [1, 2]", "onnx 1.2", "c" * 40, "edgeproof/x.py", "50.00%", "numpy 2.0"):
        assert word in text
    assert text.splitlines()[-1] == "make it again: edgeproof reproduce local/onnx/slim/fp32"


def test_another_build_in_a_models_place_is_said_and_not_taken_for_it(project: Path) -> None:
    shutil.rmtree("artifacts/onnx/slim/fp32")
    other = make(Path("artifacts/onnx/slim/fp32"), runtime="onnx", more=1)
    assert other == content_sha256(read_meta(Path("artifacts/onnx/slim/fp32")))
    (Path("artifacts/onnx/slim/fp32") / "weights").write_text("other")
    assert next(link for link in links() if link.role == "artifact").state.startswith("damaged")
    write_meta(Path("artifacts/onnx/slim/fp32"), {"runtime": "onnx"})
    assert next(link for link in links() if link.role == "artifact").state.startswith("another build lies there")


def test_a_record_whose_array_changed_is_called_damaged(project: Path) -> None:
    path = next(project.rglob("latencies.npz"))
    path.write_bytes(path.read_bytes() + b"x")
    assert links()[0].state.startswith("damaged")
    root = Path("results/records")
    assert "no figure: " in lineage.explain(cells.find_cell("slim", root), root)


def test_a_parent_that_is_gone_is_said_to_be_missing_with_the_way_back(project: Path) -> None:
    shutil.rmtree("models/student")
    student = next(link for link in links() if link.name == "student")
    assert student.missing
    assert not [link for link in links() if link.name == "teacher"]
    root = Path("results/records")
    text = lineage.explain(cells.find_cell("slim", root), root)
    assert f"missing: parent student ({student.sha256[:12]})" in text
    assert "'dvc pull' or 'dvc repro'" in text


def test_a_parent_that_is_gone_is_told_by_the_records_of_its_own_artifact(project: Path) -> None:
    meta = read_meta(Path("models/student"))
    described = {**meta, "sha256": content_sha256(meta), "parameters": 1, "macs": 2, "weight_sparsity": 0.0}
    record_trees.write(Path("results/records"), model="student", described=described)
    shutil.rmtree("models/student")
    told = {link.name: link for link in links()}
    assert not told["student"].missing
    assert told["student"].state == "not on this machine"
    assert told["teacher"].state == "intact"


def test_a_brought_files_chain_ends_at_the_file_and_no_study_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("results/brought/mine/records")
    unknown = dict.fromkeys(("seed", "parameters", "macs", "weight_sparsity", "network", "validation_accuracy"))
    parent = {"parent": {"name": "mine.onnx", "sha256": "a" * 64}}
    described = {"name": "mine", "task": "random inputs", "method": "brought", "options": {}, "data_sha256": None}
    record_trees.write(
        root,
        model="mine",
        scheme="as-is",
        call_ns=np.full(100, 2000),
        study="mine",
        described={**unknown, **described, "lineage": parent, "sha256": "a" * 64},
        artifact={"sha256": make(Path(".edgeproof/brought/mine/onnx/mine/as-is"), runtime="onnx")},
    )
    found = cells.find_cell("mine", root)
    told = [(link.role, link.name, link.state) for link in lineage.trace_lineage(found, root)]
    assert told[1] == ("artifact", "mine as-is for onnx", "intact")
    assert told[-1] == ("parent", "mine.onnx", "not on this machine")
    assert lineage.explain(found, root).splitlines()[-1] == "measure it again: edgeproof bench"
    with pytest.raises(EdgeproofError, match="came as a file that no study makes"):
        next(reproduce.reproduce([found], measure=False))
    assert main.run(["publish", "--records", str(root)]) == 0
