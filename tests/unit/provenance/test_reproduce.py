"""Reproduce cells in a clean worktree with tiny stages: identical artifacts, and reasons for different ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.config import params_file
from edgeproof.config.params import Params
from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import cells, reproduce
from tests.support import record_trees

RECORDS = Path("results/records")
# A build whose bytes are its name and the recipe's file; run as 'python -m stages.<kind> <name>' like the real ones.
STAGE = """
import hashlib, json, pathlib, sys, yaml
kind = "KIND"
name = sys.argv[1] if len(sys.argv) > 1 else ""
params = yaml.safe_load(open("params.yaml"))
if kind == "model":
    kind = next(family for family in ("train", "distill", "prune", "quantize") if name in params[family])
with open("built.txt", "a") as file:
    file.write(f"{kind} {name}".strip() + chr(10))

def sha(directory):
    files = json.load(open(f"{directory}/meta.json"))["files"]
    text = json.dumps(files, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

def make(directory, content, **meta):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "content").write_text(content)
    files = {"content": hashlib.sha256(content.encode()).hexdigest()}
    (directory / "meta.json").write_text(json.dumps({"schema": 1, **meta, "files": files}))

recipe = open("edgeproof/recipe.txt").read()
task = params["task"]["name"]
if kind == "prepare":
    make(f"data/{task}/build", "data")
elif kind == "export":
    item = params["export"][name]
    model = f"models/{item['model']}"
    for scheme in item["schemes"]:
        make(f"artifacts/{item['runtime']}/{item['model']}/{scheme}", sha(model) + scheme + recipe.partition("|")[2],
             packages=item["packages"], lowered=["content"], size_bytes=7)
else:
    item = params[kind][name]
    lineage = {"parent": item["parent"]} if item["parent"] else {}
    lineage |= {"teacher": teacher for teacher in item["teachers"]}
    lineage = {role: {"name": source, "sha256": sha(f"models/{source}")} for role, source in lineage.items()}
    make(f"models/{name}", name + json.dumps(lineage) + json.dumps(item["options"]) + recipe.partition("|")[0],
         name=name, task=task, method=item["method"], options=item["options"], seed=0, lineage=lineage,
         network={"name": item["network"], "options": item["network_options"]})
"""
KINDS = ("prepare", "model", "export")


def git(*arguments: str) -> None:
    identity_ = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity_, *arguments], check=True, capture_output=True)


def run(kind: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"stages.{kind}", *arguments], check=True, env={"PYTHONPATH": "."})


@pytest.fixture
def project(digits_study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a committed project with tiny stages, run them, and record each artifact on one runtime."""
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        Path("stages").mkdir(exist_ok=True)
        Path(f"stages/{kind}.py").write_text(STAGE.replace("KIND", kind))
    Path("edgeproof").mkdir()
    Path("edgeproof/recipe.txt").write_text("weights|export")
    params_file.write_params(digits_study)
    Path(".gitignore").write_text("models\nartifacts\ndata\n.edgeproof\nresults\nbuilt.txt\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    run("prepare")
    for name in ("teacher", "student", "student_slim", "student_slim_w4"):
        run("model", name)
    for model in ("teacher", "student_slim_w4"):
        run("export", f"{model}_onnx")
        record(model)
    return tmp_path


def record(model: str) -> Path:
    """Write a record of the model's fp32 artifact as it is now."""
    place, model_meta = Path(f"artifacts/onnx/{model}/fp32"), read_meta(Path(f"models/{model}"))
    described = {
        **model_meta,
        "sha256": content_sha256(model_meta),
        "data_sha256": content_sha256(read_meta(Path("data/digits/build"))),
    }
    facts = {"parameters": 1, "macs": 1, "weight_sparsity": 0.0}
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return record_trees.write(
        RECORDS,
        model=model,
        call_ns=np.full(100, 1000),
        study="digits",
        commit={"id": head, "modified": []},
        artifact={**read_meta(place), "sha256": content_sha256(read_meta(place))},
        described={key: value for key, value in {**described, **facts}.items() if key not in ("files", "schema")},
    )


def reproduce_cells(*names: str) -> list[reproduce.Reproduction]:
    return list(reproduce.reproduce([cells.find_cell(name, RECORDS) for name in names], measure=False))


def list_built() -> list[str]:
    return next(Path(".edgeproof/reproduce").glob("*/built.txt")).read_text().splitlines()


def test_every_cell_is_identical_and_each_model_is_built_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["reproduce", "--all", "--build-only"]) == 0
    assert "2 of 2 artifacts are identical." in capsys.readouterr().out
    models = ["train teacher", "distill student", "prune student_slim", "quantize student_slim_w4"]
    assert sorted(list_built()) == sorted(["prepare", *models, "export teacher_onnx", "export student_slim_w4_onnx"])


def test_earlier_builds_are_not_reused(project: Path) -> None:
    for name in ("models", "artifacts"):
        shutil.rmtree(name)
    assert [outcome.is_identical for outcome in reproduce_cells("teacher")] == [True]
    assert list_built() == ["prepare", "train teacher", "export teacher_onnx"]


def test_uncommitted_edits_do_not_affect_the_build(project: Path) -> None:
    Path("edgeproof/recipe.txt").write_text("other|other")
    assert [outcome.is_identical for outcome in reproduce_cells("teacher")] == [True]


def change_record(project: Path, part: str, text: str) -> None:
    """Change a part of the record of the w4 artifact, as if something else had been measured."""
    path = next(project.glob("results/records/*/*/student_slim_w4.fp32/*/record.json"))
    content = json.loads(path.read_text())
    content["artifact"]["sha256"] = "0" * 64
    place = content["artifact"]["model"]
    if part == "options":
        place["options"]["bits"] = 3
    elif part == "data":
        place["data_sha256"] = "1" * 64
    elif part == "parent":
        place["lineage"]["parent"]["sha256"] = "2" * 64
    elif part == "weights":
        place["sha256"] = "3" * 64
    elif part == "packages":
        content["artifact"]["packages"]["onnx"] = "0.1"
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("options", "student_slim_w4: options.bits: 3 → 4"),
        ("data", "the data differs: 111111111111 → "),
        ("parent", "student_slim_w4: parent student_slim differs: 222222222222 → "),
        ("weights", "student_slim_w4 has other weights (333333333333 → "),
        ("packages", "the artifact of the same model: packages.onnx: 0.1 → "),
        ("nothing", "the artifact of the same model and packages has other bytes"),
    ],
)
def test_the_first_difference_in_the_pipeline_is_reported(project: Path, part: str, reason: str) -> None:
    change_record(project, part, reason)
    (outcome,) = reproduce_cells("student_slim_w4")
    assert not outcome.is_identical
    assert outcome.reasons[0].startswith(reason)
    assert main.run(["reproduce", "student_slim_w4", "--build-only"]) == 1


def test_uncommitted_changes_that_the_record_names_are_copied_and_reported(project: Path) -> None:
    Path("edgeproof/recipe.txt").write_text("other|export")
    run("model", "teacher")
    run("export", "teacher_onnx")
    shutil.rmtree(RECORDS)
    path = record("teacher") / "record.json"
    content = json.loads(path.read_text())
    content["commit"]["modified"] = ["edgeproof/recipe.txt"]
    path.write_text(json.dumps(content))
    (outcome,) = reproduce_cells("teacher")
    assert outcome.is_identical
    assert outcome.reasons == ["measured with uncommitted changes in edgeproof/recipe.txt: copied as they are now"]


def test_a_record_without_a_commit_is_built_from_the_current_checkout_with_a_note(project: Path) -> None:
    path = next(project.glob("results/records/*/*/teacher.fp32/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": None}))
    (outcome,) = reproduce_cells("teacher")
    assert outcome.is_identical
    assert "doesn't say which commit" in outcome.reasons[0]


def test_a_commit_with_a_stage_module_for_each_family_is_built_with_them(project: Path) -> None:
    for family in ("train", "distill", "prune", "quantize"):
        shutil.copy("stages/model.py", f"stages/{family}.py")
    Path("stages/model.py").unlink()
    git("add", ".")
    git("commit", "-qm", "older layout")
    shutil.rmtree(RECORDS)
    record("student_slim_w4")
    (outcome,) = reproduce_cells("student_slim_w4")
    assert outcome.is_identical


def test_a_failed_stage_is_reported_with_its_last_lines(project: Path) -> None:
    Path("stages/model.py").write_text("raise SystemExit('no such luck')")
    git("commit", "-qam", "broken")
    shutil.rmtree(RECORDS)
    record("teacher")
    with pytest.raises(EdgeproofError, match=r"'train teacher' failed in .*:\nno such luck"):
        reproduce_cells("teacher")


def test_reproducing_needs_cells_or_the_all_option(project: Path) -> None:
    with pytest.raises(EdgeproofError, match="--all"):
        main.run(["reproduce"])
