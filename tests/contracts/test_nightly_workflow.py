"""The nightly workflow in docs/farm.md is valid: its commands exist, and it keeps the history of all runners."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "farm.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workflow() -> Any:
    (block,) = re.findall(r"^```yaml\n(name: nightly\n.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return yaml.load(block, Loader=yaml.BaseLoader)  # YAML 1.1 would read the key 'on' as true


def list_steps(workflow: Any) -> list[dict[str, Any]]:
    (job,) = workflow["jobs"].values()
    return list(job["steps"])


def test_it_runs_every_night_on_a_self_hosted_runner(workflow: Any) -> None:
    assert set(workflow) == {"name", "on", "concurrency", "permissions", "jobs"}
    (schedule,) = workflow["on"]["schedule"]
    assert re.fullmatch(r"\d{1,2} \d{1,2} \* \* \*", schedule["cron"])
    (job,) = workflow["jobs"].values()
    assert job["runs-on"][0] == "self-hosted"
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    for step in job["steps"]:
        assert set(step) <= {"name", "if", "run", "uses", "with"}
        assert ("run" in step) != ("uses" in step)


def test_its_commands_exist(workflow: Any) -> None:
    commands = [step["run"] for step in list_steps(workflow) if "run" in step]
    argvs = [words.split()[1:] for words in commands if words.startswith(".venv/bin/edgeproof")]
    assert argvs == [["farm", "run"], ["farm", "regressions"]]
    for argv in argvs:
        with pytest.raises(SystemExit) as failure:
            main.run([*argv, "--help"])
        assert failure.value.code == 0
    assert "make setup" in commands
    assert "setup:" in (ROOT / "Makefile").read_text()


def test_records_are_uploaded_even_after_a_failed_night(workflow: Any) -> None:
    first = next(n for n, step in enumerate(list_steps(workflow)) if "farm run" in step.get("run", ""))
    assert all(step["if"] == "${{ !cancelled() }}" for step in list_steps(workflow)[first + 1 :])
    (path,) = (step["with"]["path"] for step in list_steps(workflow) if "upload-artifact" in step.get("uses", ""))
    assert path.split() == ["results/history", "results/alarms"]


def test_a_new_runner_adds_to_the_history_and_removes_nothing(workflow: Any, tmp_path: Path) -> None:
    script = list_steps(workflow)[-1]["run"]
    origin = tmp_path / "origin.git"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(tmp_path)}

    def git(*words: str, at: Path = tmp_path) -> str:
        argv = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
        return subprocess.run(argv, cwd=at, env=environment, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git("init", "--quiet", "--initial-branch=main", "first")
    (tmp_path / "first" / ".gitignore").write_text("/results/history/\n/results/alarms/\n.edgeproof/\n")
    git("add", ".", at=tmp_path / "first")
    git("commit", "--quiet", "-m", "code", at=tmp_path / "first")
    git("remote", "add", "origin", str(origin), at=tmp_path / "first")
    git("push", "--quiet", "origin", "main", at=tmp_path / "first")
    for runner, night, alarms in (("first", "2026-01-01", False), ("second", "2026-01-02", True)):
        place = tmp_path / runner
        if not place.exists():
            git("clone", "--quiet", str(origin), str(place))
        (place / ".edgeproof").mkdir()
        for kind in ("history", "alarms") if alarms else ("history",):
            (place / "results" / kind / night).mkdir(parents=True)
            (place / "results" / kind / night / "record.json").write_text("{}")
        subprocess.run(["bash", "-e", "-c", script], cwd=place, env=environment, check=True, capture_output=True)
        assert git("status", "--porcelain", at=place) == "", "the checkout has changed"
    assert git("ls-tree", "-r", "--name-only", "history", at=origin).split() == [
        "results/alarms/2026-01-02/record.json",
        "results/history/2026-01-01/record.json",
        "results/history/2026-01-02/record.json",
    ]
    assert git("rev-list", "--count", "history", at=origin).strip() == "2"
    shutil.rmtree(tmp_path / "first")
