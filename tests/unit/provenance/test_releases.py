"""Register versions and stages as tags that GTO reads. Only valid artifacts that dvc.lock pins may be registered."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgeproof.cli import main
from edgeproof.core.directories import content_sha256, read_meta, write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import releases
from edgeproof.provenance.cells import CellAddress
from tests.support import record_trees

RECORDS = Path("results/records")
NAME = "student-slim-onnx-int8-static"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a repository whose committed dvc.lock pins an artifact with valid records."""
    monkeypatch.chdir(tmp_path)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")
    git("init", "-q")
    Path("dvc.lock").write_text(
        yaml.safe_dump({"stages": {"export": {"outs": [{"path": "artifacts/onnx/student_slim"}]}}})
    )
    git("add", "dvc.lock")
    git("commit", "-qm", "first")
    measure("first")
    return tmp_path


def measure(content: str) -> None:
    """Build the artifact with this content and measure it."""
    shutil.rmtree("results", ignore_errors=True)
    shutil.rmtree("artifacts", ignore_errors=True)
    place = Path("artifacts/onnx/student_slim/int8-static")
    place.mkdir(parents=True)
    (place / "model.onnx").write_text(content)
    write_meta(place, {})
    identity = {
        "model": "student_slim",
        "scheme": "int8-static",
        "artifact": {"sha256": content_sha256(read_meta(place))},
    }
    described = {"name": "student_slim", "task": "task", "options": {}}
    record_trees.write(RECORDS, call_ns=np.full(100, 5000), described=described, **identity)
    record_trees.write(RECORDS, "accuracy", correct=[True], described=described, **identity)


def register(*arguments: str) -> int:
    return main.run(["register", "student_slim", *arguments])


def test_a_version_is_a_tag_that_gto_reads(project: Path) -> None:
    from gto import api

    assert register() == 0
    assert git("tag").split() == [f"{NAME}@v0.0.1"]
    (version,) = api.show(project, NAME)
    assert (version["version"], version["commit_hexsha"]) == ("v0.0.1", git("rev-parse", "HEAD").strip())


def test_a_promotion_is_a_tag_that_gto_reads(project: Path) -> None:
    from gto import api

    assert register("--version", "v1.0.0", "--stage", "dev") == 0
    assert register("--stage", "prod") == 0
    assert sorted(git("tag").split()) == [f"{NAME}#dev#1", f"{NAME}#prod#2", f"{NAME}@v1.0.0"]
    (version,) = api.show(project, NAME)
    assert version["version"] == "v1.0.0"


def test_the_same_artifact_is_registered_once_and_another_is_the_next_version(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register()
    register()
    assert "v0.0.1 is this artifact already" in capsys.readouterr().out
    measure("second")
    git("commit", "-qm", "second", "--allow-empty")
    register()
    assert git("tag").split() == [f"{NAME}@v0.0.1", f"{NAME}@v0.0.2"]


def test_an_artifact_with_an_invalid_scenario_is_not_promoted_to_production(project: Path) -> None:
    path = next(RECORDS.rglob("single_stream.0/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "invalid", "reasons": ["late"]}))
    with pytest.raises(EdgeproofError, match="Only what is valid in every scenario goes to prod"):
        register("--stage", "prod")
    assert git("tag") == ""
    assert register("--stage", "dev") == 0


def test_an_artifact_that_changed_or_has_no_accuracy_is_not_registered(project: Path) -> None:
    path = Path("artifacts/onnx/student_slim/int8-static/model.onnx")
    path.write_text("other")
    with pytest.raises(EdgeproofError, match="damaged"):
        register()
    path.write_text("first")
    shutil.rmtree(next(RECORDS.rglob("accuracy.0")))
    with pytest.raises(EdgeproofError, match="has no quality"):
        register()
    assert git("tag") == ""


def test_an_artifact_that_the_last_commit_does_not_pin_is_not_registered(project: Path) -> None:
    Path("dvc.lock").write_text("stages: {}\n")
    with pytest.raises(EdgeproofError, match="Commit it first"):
        register()
    git("commit", "-qam", "emptied")
    with pytest.raises(EdgeproofError, match="has no artifacts/onnx/student_slim"):
        register()


def test_an_existing_or_malformed_version_is_refused_with_the_message_of_gto(project: Path) -> None:
    register("--version", "v1.0.0")
    measure("second")
    git("commit", "-qm", "second", "--allow-empty")
    for version in ("v1.0.0", "1.x"):
        with pytest.raises(EdgeproofError, match=f"{NAME} can't be registered"):
            register("--version", version)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (CellAddress("d", "onnx", "student_slim", "int8-static"), NAME),
        (CellAddress("d", "onnx", "Ünder__score", "a/b"), "nder-score-onnx-a-b"),
    ],
)
def test_a_name_has_what_gto_allows(cell: CellAddress, name: str) -> None:
    assert releases.name_artifact(cell) == name
