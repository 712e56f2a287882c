"""Clones of the working tree in which tests run commands, and temporary edits of their files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ProjectClone:
    """A checkout of the project in its current state, committed, with an empty DVC cache."""

    path: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone, with the virtual environment's programs first on the PATH."""
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
def edit_temporarily(path: Path, *replacements: tuple[str, str]) -> Iterator[None]:
    """Replace texts that a file contains, and restore the file afterwards."""
    before = after = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in after, old
        after = after.replace(old, new)
    path.write_text(after, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def clone_project(path: Path) -> ProjectClone:
    """Copy every file that git tracks or would track to `path`, and commit it there."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    clone = ProjectClone(path)
    clone.run("git", "init", "--quiet", "--initial-branch=main")
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "The project in its current state")
    return clone
