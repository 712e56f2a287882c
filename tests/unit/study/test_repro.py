"""Running a study: the output of DVC with progress, and a summary of the files that a run changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeproof.config import params_file
from edgeproof.config.params import Params
from edgeproof.study import durations, repro
from edgeproof.study.dvc_command import StageProgress


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a repository with a commit that holds a table and a lock file."""
    monkeypatch.chdir(tmp_path)
    Path("results/tables").mkdir(parents=True)
    Path("results/tables/table.md").write_text("old")
    Path("dvc.lock").write_text("old")
    Path(".gitignore").write_text(".edgeproof/\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_an_unchanged_tree_is_reported_as_such(checkout: Path) -> None:
    assert repro.explain_changes() == "No file in git changed."


def test_changed_files_are_reported_with_commands_to_keep_and_to_undo_them(checkout: Path) -> None:
    Path("results/tables/table.md").write_text("new")
    Path("results/tables/table.csv").write_text("new")
    Path("dvc.lock").write_text("new")
    Path("README.md").write_text("not written by a run")
    changes, commands = repro.explain_changes().splitlines()
    assert changes == "Changed since the last commit: results/ (2 files), dvc.lock."
    assert "git add results dvc.lock && git commit" in commands
    assert "git checkout HEAD -- results dvc.lock && dvc checkout" in commands


def test_nothing_is_reported_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repro.explain_changes() == ""


def test_a_run_of_the_committed_study_ends_with_the_changes(
    checkout: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(directory: Path, stages: list[str]) -> int:
        Path("dvc.lock").write_text("new")
        return 0

    params_file.write_params(digits_study)
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# edited\n")
    monkeypatch.setattr(repro.compose, "read_default_study", lambda: "digits")
    monkeypatch.setattr(repro, "run_dvc_repro", measure)
    assert repro.run_study(None) == 0
    output = capsys.readouterr().out
    assert "params.yaml was edited by hand" in output
    assert "Changed since the last commit: dvc.lock, params.yaml." in output


def test_each_stage_that_runs_is_shown_with_its_number_and_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    progress = StageProgress(["prepare", "train@teacher", "report"])
    for line in (
        "Stage 'prepare' didn't change, skipping\n",
        "Running stage 'train@teacher':\n",
        "> python -m stages.model teacher\n",
        "  teacher: seed 0\n",
        "Updating lock file 'dvc.lock'\n",
        "Running stage 'report':\n",
    ):
        progress.show(line)
    progress.finish()
    assert capsys.readouterr().out.splitlines() == [
        "[2/3] train@teacher  (0:00 passed, about 2:05 left)",
        "  teacher: seed 0",
        "[3/3] report  (0:00 passed, about 0:05 left)",
    ]
    assert set(durations.read_durations()) == {"train@teacher", "report"}


def test_the_duration_of_a_stage_that_failed_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    progress = StageProgress(["prepare", "train@teacher"])
    for stage in ("prepare", "train@teacher"):
        progress.show(f"Running stage '{stage}':\n")
    progress.finish(has_failed=True)
    assert set(durations.read_durations()) == {"prepare"}


def test_a_stage_that_has_not_run_is_estimated_by_the_others_of_its_kind() -> None:
    known = {"export@a_onnx": 2.0, "export@b_onnx": 4.0, "export@a_tflite": 9.0, "train@teacher": 500.0}
    assert durations.estimate_s(known, "export@a_tflite") == 9.0
    assert durations.estimate_s(known, "export@b_tflite") == 4.0
    assert durations.estimate_s(known, "bench@local_onnx") == durations.DEFAULTS_S["bench"]
    assert durations.estimate_s(known, "mine") == durations.OTHER_S
