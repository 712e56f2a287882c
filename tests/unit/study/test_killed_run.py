"""A run that is killed: nothing that it started goes on, whatever moment it is killed at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are followed on Linux only")

# A stage that says that it runs and then never ends by itself.
STAGE = """\
import pathlib, time
from edgeproof import entry
def main():
    pathlib.Path("running").touch()
    time.sleep(600)
entry.run(main)
"""
RUN = """\
import pathlib
from edgeproof import entry
from edgeproof.study.dvc_command import run_dvc_repro
entry.run(lambda: run_dvc_repro(pathlib.Path(), ["long"]))
"""
TIME_TO_END_S = 15.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a DVC project with one stage that takes ten minutes."""
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "run.py").write_text(RUN)
    # With 'true', every shell stays between DVC and the stage.
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  long:\n    cmd: {sys.executable} stage.py && true\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    return tmp_path


def list_processes(directory: Path) -> dict[int, str]:
    """Return the processes that work in a directory: number → command."""
    processes = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve(strict=True) == directory:
                processes[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
    return {number: command for number, command in processes.items() if command}


@pytest.fixture
def run(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the study's run. Its processes are killed after the test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "SHELL": "/bin/sh"}
    with (project / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "run.py"], cwd=project, env=environment, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()
    for number in list_processes(project):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(number, signal.SIGKILL)


def wait_for_stage(project: Path) -> None:
    deadline_s = time.monotonic() + 30
    while not (project / "running").exists():
        assert time.monotonic() < deadline_s, (project / "log").read_text()
        time.sleep(0.05)


def assert_nothing_runs(project: Path) -> None:
    deadline_s = time.monotonic() + TIME_TO_END_S
    while list_processes(project) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert list_processes(project) == {}


# The run's imports, the launcher, DVC's imports, DVC's start of the stage, the stage's imports.
@pytest.mark.parametrize("delay_s", [0.02, 0.13, 0.4, 0.9, 1.7])
def test_a_run_killed_at_any_moment_leaves_no_process(
    project: Path, run: subprocess.Popen[bytes], delay_s: float
) -> None:
    time.sleep(delay_s)
    run.kill()
    run.wait()
    assert_nothing_runs(project)


@pytest.mark.parametrize("victim", ["run.py", "-m dvc repro"])
def test_killing_the_run_or_dvc_ends_the_stage_behind_its_shell(
    project: Path, run: subprocess.Popen[bytes], victim: str
) -> None:
    wait_for_stage(project)
    processes = list_processes(project)
    assert any(f"-c {sys.executable} stage.py" in command for command in processes.values()), processes
    number = next(number for number, command in processes.items() if victim in command)
    os.kill(number, signal.SIGKILL)
    assert_nothing_runs(project)


def test_a_stage_of_plain_dvc_ends_when_dvc_is_killed(project: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "SHELL": "/bin/sh"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=project, env=environment) as dvc:
        wait_for_stage(project)
        dvc.kill()
    assert_nothing_runs(project)


def test_after_a_killed_run_the_next_one_starts(project: Path, run: subprocess.Popen[bytes]) -> None:
    wait_for_stage(project)
    run.kill()
    run.wait()
    assert_nothing_runs(project)
    (project / "running").unlink()
    (project / "stage.py").write_text("print('done')")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_terminated_run_ends_dvc_and_the_stage(project: Path, run: subprocess.Popen[bytes]) -> None:
    wait_for_stage(project)
    run.terminate()
    assert run.wait(TIME_TO_END_S) == 143
    assert_nothing_runs(project)
