"""Making cells again in a clean worktree, with stages of a few lines: what is identical, and what differs and why."""

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
with open("built.txt", "a") as file:
    file.write(f"{kind} {name}".strip() + chr(10))
params = yaml.safe_load(open("params.yaml"))

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
    lineage = {role: {"name": of, "sha256": sha(f"models/{of}")} for role, of in lineage.items()}
    make(f"models/{name}", name + json.dumps(lineage) + json.dumps(item["options"]) + recipe.partition("|")[0],
         name=name, task=task, method=item["method"], options=item["options"], seed=0, lineage=lineage,
         network={"name": item["network"], "options": item["network_options"]})
"""
KINDS = ("prepare", "train", "distill", "prune", "quantize", "export")


def git(*arguments: str) -> None:
    identity_ = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity_, *arguments], check=True, capture_output=True)


def run(kind: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"stages.{kind}", *arguments], check=True, env={"PYTHONPATH": "."})


@pytest.fixture
def project(digits_study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project with tiny stages, what they build, and a record of each artifact on one runtime."""
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
    for kind, name in (("train", "teacher"), ("distill", "student"), ("prune", "student_slim")):
        run(kind, name)
    run("quantize", "student_slim_w4")
    for model in ("teacher", "student_slim_w4"):
        run("export", f"{model}_onnx")
        record(model)
    return tmp_path


def record(model: str) -> Path:
    """A record of the model's fp32 artifact as it lies there now."""
    place, made = Path(f"artifacts/onnx/{model}/fp32"), read_meta(Path(f"models/{model}"))
    described = {**made, "sha256": content_sha256(made), "data_sha256": content_sha256(read_meta(Path("data/digits/build")))}
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


def outcomes(*names: str) -> list[reproduce.Reproduction]:
    return list(reproduce.reproduce([cells.find_cell(name, RECORDS) for name in names], measure=False))


def built() -> list[str]:
    return next(Path(".edgeproof/reproduce").glob("*/built.txt")).read_text().splitlines()


def test_every_cell_is_identical_and_each_model_is_built_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["reproduce", "--all", "--build-only"]) == 0
    assert "2 of 2 artifacts are identical." in capsys.readouterr().out
    models = ["train teacher", "distill student", "prune student_slim", "quantize student_slim_w4"]
    assert sorted(built()) == sorted(["prepare", *models, "export teacher_onnx", "export student_slim_w4_onnx"])


def test_nothing_built_before_is_taken_for_built(project: Path) -> None:
    for name in ("models", "artifacts"):
        shutil.rmtree(name)
    assert [outcome.same for outcome in outcomes("teacher")] == [True]
    assert built() == ["prepare", "train teacher", "export teacher_onnx"]


def test_what_is_edited_but_not_committed_changes_nothing(project: Path) -> None:
    Path("edgeproof/recipe.txt").write_text("other|other")
    assert [outcome.same for outcome in outcomes("teacher")] == [True]


def changed(project: Path, part: str, text: str) -> None:
    """Rewrite a part of the record of the w4 artifact, as if something else had been measured."""
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
def test_what_differs_is_named_as_far_upstream_as_it_can_be(project: Path, part: str, reason: str) -> None:
    changed(project, part, reason)
    (outcome,) = outcomes("student_slim_w4")
    assert not outcome.same
    assert outcome.reasons[0].startswith(reason)
    assert main.run(["reproduce", "student_slim_w4", "--build-only"]) == 1


def test_uncommitted_changes_that_the_record_names_are_brought_over_and_said(project: Path) -> None:
    Path("edgeproof/recipe.txt").write_text("other|export")
    run("train", "teacher")
    run("export", "teacher_onnx")
    shutil.rmtree(RECORDS)
    path = record("teacher") / "record.json"
    content = json.loads(path.read_text())
    content["commit"]["modified"] = ["edgeproof/recipe.txt"]
    path.write_text(json.dumps(content))
    (outcome,) = outcomes("teacher")
    assert outcome.same
    assert outcome.reasons == ["measured with uncommitted changes in edgeproof/recipe.txt: taken as they are now"]


def test_a_record_without_a_commit_is_built_from_what_is_checked_out_and_says_so(project: Path) -> None:
    path = next(project.glob("results/records/*/*/teacher.fp32/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": None}))
    (outcome,) = outcomes("teacher")
    assert outcome.same
    assert "doesn't say which commit" in outcome.reasons[0]


def test_a_stage_that_fails_is_told_with_its_own_last_words(project: Path) -> None:
    Path("stages/train.py").write_text("raise SystemExit('no such luck')")
    git("commit", "-qam", "broken")
    shutil.rmtree(RECORDS)
    record("teacher")
    with pytest.raises(EdgeproofError, match=r"'train teacher' failed in .*:\nno such luck"):
        outcomes("teacher")


def test_naming_no_cell_and_asking_for_none_is_refused(project: Path) -> None:
    with pytest.raises(EdgeproofError, match="--all"):
        main.run(["reproduce"])
