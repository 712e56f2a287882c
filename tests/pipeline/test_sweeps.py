"""Tests of sweeps through DVC: shared stages run once, a killed sweep continues, and each point is a DVC experiment."""

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
from tests.support.project_clones import ProjectClone, clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]

# The smallest settings with which every stage does its work.
CHEAP = (
    "study=digits", "threads=1", "train.epochs=1", "distill.epochs=1", "prune.epochs=1", "quantize.epochs=1",
    "bench.runtimes=[onnx]", "bench.final=[]", "bench.processes=1", "bench.warm_up_s=0.1", "bench.cool_down_s=0.0",
    "tasks.digits.quality_target=0.0",
)  # fmt: skip
GRID = ("--multirun", *CHEAP, "prune.ratio=0.2,0.4", "scheme=int8-static")
# Stages that run once: prepare, teacher, student, the teacher's export. Stages that run twice: pruning, quantization,
# export, bench, report.
DISTINCT_STAGES = 14

# Its models are those of the grid. No model reaches the limit after one epoch.
HOPELESS_SEARCH = """
space: {prune.ratio: "choice(0.2, 0.4)"}
objectives: [quality, size_bytes]
limits: {validation_quality: 0.999}
trials: 1
batch: 2
sampler: random
seed: 0
"""


def run_sweep(project: ProjectClone, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "edgeproof.cli", "sweep", *words, check=check)


def locate_sweep(project: ProjectClone, name: str) -> Path:
    return project.path / "results/sweeps" / name


def read_journal(project: ProjectClone, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (locate_sweep(project, name) / "journal.jsonl").read_text().splitlines()]


def read_rows(project: ProjectClone, name: str) -> list[dict[str, str]]:
    with (locate_sweep(project, name) / "table.csv").open() as file:
        return list(csv.DictReader(file))


def list_builds(project: ProjectClone, name: str) -> list[tuple[str, ...]]:
    """Return the columns that must be identical even if a sweep was interrupted."""
    columns = ("prune.ratio", "status", "quality", "size_bytes", "of_artifact_sha256", "models_sha256")
    return [tuple(row[column] for column in columns) for row in read_rows(project, name)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    project = clone_project(tmp_path_factory.mktemp("sweeps"))
    # The quality of measurements does not matter here, so disturbed ones are not repeated.
    session = project.path / "edgeproof/bench/session.py"
    text = session.read_text()
    assert text.count("\nREPEATS = ") == 1
    session.write_text(re.sub(r"\nREPEATS = \d+", "\nREPEATS = 0", text))
    write_text(project.path / "conf/search/hopeless.yaml", HOPELESS_SEARCH)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Measure once, add a hopeless search")
    return project


@pytest.fixture(scope="module")
def done(project: ProjectClone) -> ProjectClone:
    """Run a sweep of two points in parallel, kill it once, and run it again to its end."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "edgeproof.cli", "sweep", *GRID, "+name=grid", "+workers=2"]
    first = subprocess.Popen(command, cwd=project.path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (locate_sweep(project, "grid") / "journal.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    run_sweep(project, *GRID, "+name=grid", "+workers=2")
    return project


def test_every_shared_stage_ran_once_according_to_dvc(done: ProjectClone) -> None:
    ran = Counter((line["stage"], line["key"]) for line in read_journal(done, "grid") if line["outcome"] == "ran")
    assert set(ran.values()) == {1}
    assert len(ran) == DISTINCT_STAGES
    printed = "".join(path.read_text() for path in (locate_sweep(done, "grid") / "logs").iterdir())
    # The stages that the kill interrupted started twice.
    assert DISTINCT_STAGES <= printed.count("Running stage '") <= DISTINCT_STAGES + 2
    assert f"{DISTINCT_STAGES} stages ran, each of them once" in (locate_sweep(done, "grid") / "table.md").read_text()


def test_each_point_has_its_parameters_lock_file_and_records(done: ProjectClone) -> None:
    assert [row["status"] for row in read_rows(done, "grid")] == ["finished"] * 2
    for point in (locate_sweep(done, "grid") / "points").iterdir():
        assert (point / "params.yaml").read_text().startswith("# Composed from conf/")
        assert "bench@local_onnx" in (point / "dvc.lock").read_text()
        assert list((point / "records").glob("local_onnx/onnx/student_slim_w4.*/accuracy.0/record.json"))


def test_a_finished_sweep_runs_nothing_and_a_second_one_takes_everything_from_the_cache(done: ProjectClone) -> None:
    before = read_journal(done, "grid")
    assert "2 point(s) were finished before" in run_sweep(done, *GRID, "+name=grid").stdout
    assert read_journal(done, "grid") == before
    run_sweep(done, *GRID, "+name=again")
    assert {line["outcome"] for line in read_journal(done, "again")} <= {"cached", "unchanged"}
    assert list_builds(done, "again") == list_builds(done, "grid")


def test_a_sweep_leaves_the_committed_study_unchanged(done: ProjectClone) -> None:
    assert done.run("git", "status", "--porcelain").stdout == ""


def test_points_are_dvc_experiments(done: ProjectClone) -> None:
    names = [f"grid-{row['point'][:8]}" for row in read_rows(done, "grid")]
    shown = done.run(sys.executable, "-m", "dvc", "exp", "show", "--csv").stdout
    assert all(name in shown for name in names)
    difference = json.loads(done.run(sys.executable, "-m", "dvc", "exp", "diff", names[0], names[-1], "--json").stdout)
    assert "prune.student_slim.options.ratio" in difference["params"]["params.yaml"]
    done.run(sys.executable, "-m", "dvc", "exp", "apply", names[0])
    assert "study: digits" in (done.path / "params.yaml").read_text()
    done.run("git", "checkout", ".")


def test_a_point_whose_stage_fails_is_a_row_with_the_stages_error(project: ProjectClone) -> None:
    failed = run_sweep(
        project, "--multirun", *CHEAP, "tasks.digits.calibration_samples=100000", "+name=bad", check=False
    )
    assert failed.returncode == 1
    (row,) = read_rows(project, "bad")
    assert row["status"] == "failed"
    assert "prepare" in row["reason"]
    assert "fewer than calibration_samples 100000" in row["reason"]


def test_a_search_stops_points_that_miss_a_limit_before_they_are_measured(done: ProjectClone) -> None:
    run_sweep(done, "+search=hopeless", *CHEAP, "+name=search")
    assert {row["status"] for row in read_rows(done, "search")} == {"stopped"}
    assert all("neither exported nor measured" in row["reason"] for row in read_rows(done, "search"))
    assert not [line for line in read_journal(done, "search") if line["stage"].startswith(("export", "bench"))]
