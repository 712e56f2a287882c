"""Fresh clones of the working tree, each with an empty cache, and the quick study run in one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Clone:
    """A checkout of the project as it stands, committed, with an empty DVC cache."""

    path: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone with the virtual environment's programs first on the PATH."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
            "DVC_NO_ANALYTICS": "1",
        }
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def edgeproof(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the clone's own edgeproof, not the installed one."""
        return self.run(sys.executable, "-m", "edgeproof.cli", *arguments, check=check)


@contextmanager
def edited(path: Path, *replacements: tuple[str, str]) -> Iterator[None]:
    """Replace text in a file, each piece of which must be there, and put the file back afterwards."""
    before = after = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in after, old
        after = after.replace(old, new)
    path.write_text(after, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def clone(path: Path) -> Clone:
    """Copy every file that git tracks or would track, and commit it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    made = Clone(path)
    made.run("git", "init", "--quiet", "--initial-branch=main")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "The project as it stands")
    return made


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the quick study has run as the README says."""
    made = clone(tmp_path_factory.mktemp("first"))
    done = made.edgeproof("repro", "digits")
    (made.path / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def study(project: Clone) -> Clone:
    """The worktree in which the quick study ran."""
    return Clone(project.path / ".edgeproof" / "studies" / "digits")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A second fresh clone, at another path, with the quick study's models and artifacts built but not measured."""
    made = clone(tmp_path_factory.mktemp("second") / "at" / "another" / "path")
    made.edgeproof("compose", "study=digits")
    made.run("dvc", "repro", "export")
    return made
