"""Sweeps through DVC: what points share is made once, what is killed goes on, what is done is a DVC experiment."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from edgeproof.core.directories import write_text
from tests.pipeline.conftest import Clone, clone

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]

# As little as makes every stage do its work.
CHEAP = (
    "study=digits", "threads=1", "train.epochs=1", "distill.epochs=1", "prune.epochs=1", "quantize.epochs=1",
    "bench.runtimes=[onnx]", "bench.final=[]", "bench.processes=1", "bench.warm_up_s=0.1", "bench.cool_down_s=0.0",
    "tasks.digits.quality_target=0.0",
)  # fmt: skip
GRID = ("--multirun", *CHEAP, "prune.ratio=0.2,0.4", "scheme=int8-static")
# prepare, teacher, student, the teacher's export; twice: pruned, quantized, export, session, report
DIFFERENT_STAGES = 14

# Its points' models are those of the grid; no model is that good after one epoch.
HOPELESS = """
space: {prune.ratio: "choice(0.2, 0.4)"}
objectives: [accuracy, size_bytes]
limits: {validation_accuracy: 0.999}
trials: 1
batch: 2
sampler: random
seed: 0
"""


def sweep(project: Clone, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "edgeproof.cli.sweep", *words, check=check)


def where(project: Clone, name: str) -> Path:
    return project.path / "results/sweeps" / name


def journal(project: Clone, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (where(project, name) / "journal.jsonl").read_text().splitlines()]


def rows(project: Clone, name: str) -> list[dict[str, str]]:
    with (where(project, name) / "table.csv").open() as file:
        return list(csv.DictReader(file))


def built(project: Clone, name: str) -> list[tuple[str, ...]]:
    """What must be the same to the bit however a sweep came to its end."""
    columns = ("prune.ratio", "status", "accuracy", "size_bytes", "of_artifact_sha256", "models_sha256")
    return [tuple(row[column] for column in columns) for row in rows(project, name)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = clone(tmp_path_factory.mktemp("sweeps"))
    # What a disturbed measurement is worth is not asked here, so none is repeated.
    benching = made.path / "edgeproof/benching.py"
    text = benching.read_text()
    assert text.count("\nREPEATS = ") == 1
    benching.write_text(re.sub(r"\nREPEATS = \d+", "\nREPEATS = 0", text))
    write_text(made.path / "conf/search/hopeless.yaml", HOPELESS)
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "Measure once, search in vain")
    return made


@pytest.fixture(scope="module")
def done(project: Clone) -> Clone:
    """A clone in which a sweep of two points was killed once, and went on, two points side by side."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "edgeproof.cli.sweep", *GRID, "+name=grid", "+workers=2"]
    first = subprocess.Popen(command, cwd=project.path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (where(project, "grid") / "journal.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    sweep(project, *GRID, "+name=grid", "+workers=2")
    return project


def test_every_stage_that_points_share_ran_once_by_dvcs_own_word(done: Clone) -> None:
    ran = Counter((line["stage"], line["key"]) for line in journal(done, "grid") if line["outcome"] == "ran")
    assert set(ran.values()) == {1}
    assert len(ran) == DIFFERENT_STAGES
    printed = "".join(path.read_text() for path in (where(done, "grid") / "logs").iterdir())
    # The stage that the kill cut short began twice.
    assert DIFFERENT_STAGES <= printed.count("Running stage '") <= DIFFERENT_STAGES + 2
    assert f"{DIFFERENT_STAGES} stages ran, each of them once" in (where(done, "grid") / "table.md").read_text()


def test_each_point_has_its_configuration_its_lock_and_its_records(done: Clone) -> None:
    assert [row["status"] for row in rows(done, "grid")] == ["finished"] * 2
    for point in (where(done, "grid") / "points").iterdir():
        assert (point / "params.yaml").read_text().startswith("# Composed from conf/")
        assert "bench@local_onnx" in (point / "dvc.lock").read_text()
        assert list((point / "records").glob("local_onnx/onnx/student_slim_w4.*/accuracy.0/record.json"))


def test_a_finished_sweep_does_nothing_and_another_one_takes_all_from_the_cache(done: Clone) -> None:
    before = journal(done, "grid")
    assert "2 of them finished before" in sweep(done, *GRID, "+name=grid").stdout
    assert journal(done, "grid") == before
    sweep(done, *GRID, "+name=again")
    assert {line["outcome"] for line in journal(done, "again")} <= {"cached", "unchanged"}
    assert built(done, "again") == built(done, "grid")


def test_the_committed_study_is_as_it_was(done: Clone) -> None:
    assert done.run("git", "status", "--porcelain").stdout == ""


def test_points_are_experiments_that_dvc_shows_compares_and_applies(done: Clone) -> None:
    names = [f"grid-{row['point'][:8]}" for row in rows(done, "grid")]
    shown = done.run(sys.executable, "-m", "dvc", "exp", "show", "--csv").stdout
    assert all(name in shown for name in names)
    difference = json.loads(done.run(sys.executable, "-m", "dvc", "exp", "diff", names[0], names[-1], "--json").stdout)
    assert "prune.student_slim.options.ratio" in difference["params"]["params.yaml"]
    done.run(sys.executable, "-m", "dvc", "exp", "apply", names[0])
    assert "study: digits" in (done.path / "params.yaml").read_text()
    done.run("git", "checkout", ".")


def test_a_point_that_no_stage_can_make_is_a_row_with_the_stages_own_words(project: Clone) -> None:
    failed = sweep(project, "--multirun", *CHEAP, "tasks.digits.calibration_samples=100000", "+name=bad", check=False)
    assert failed.returncode == 1
    (row,) = rows(project, "bad")
    assert row["status"] == "failed"
    assert "prepare" in row["reason"]
    assert "fewer than calibration_samples 100000" in row["reason"]


def test_a_search_stops_points_that_miss_a_limit_before_they_are_measured(done: Clone) -> None:
    sweep(done, "+search=hopeless", *CHEAP, "+name=search")
    assert {row["status"] for row in rows(done, "search")} == {"stopped"}
    assert all("neither exported nor measured" in row["reason"] for row in rows(done, "search"))
    assert not [line for line in journal(done, "search") if line["stage"].startswith(("export", "bench"))]
