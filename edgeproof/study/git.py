"""Run git: the commit that is checked out, and the source files that differ from it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

# Files that decide what is built and measured. Results and the files that DVC writes are not among them.
SOURCES = ("edgeproof", "stages", "conf", "devices", "params.yaml", "dvc.yaml", "requirements.lock")
COMMIT_FILE = WORK / "commit.json"


def run_git(*arguments: str, cwd: Path | None = None, extra_environment: Mapping[str, str] | None = None) -> str:
    """Run git and return what it prints. Raises EdgeproofError with git's own message."""
    environment = {**os.environ, **(extra_environment or {})}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise EdgeproofError("git is not installed, or not on the PATH.") from None
    if done.returncode != 0:
        raise EdgeproofError(f"git {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}.")
    return done.stdout.rstrip("\n")


def describe_commit(root: Path | None = None) -> dict[str, Any] | None:
    """Return the `id` of the commit that is checked out and the source files `modified` since. None outside git.

    Sources that were copied to another host without git have the file of export_commit instead.
    """
    exported = (root or Path()) / COMMIT_FILE
    if exported.is_file():
        commit: dict[str, Any] | None = json.loads(exported.read_text(encoding="utf-8"))
        return commit
    try:
        head = run_git("rev-parse", "HEAD", cwd=root)
        status = run_git("status", "--porcelain", "--untracked-files=all", "-z", "--", *SOURCES, cwd=root)
    except EdgeproofError:
        return None
    # Each entry is two letters, a space and a path. The old path of a renamed file follows as an entry of its own.
    return {"id": head, "modified": sorted({entry[3:] for entry in status.split("\0") if entry[2:3] == " "})}


def export_commit(root: Path) -> dict[str, bytes]:
    """Return a file, as path → content, that holds describe_commit's answer for copies of `root` without git."""
    return {COMMIT_FILE.as_posix(): json.dumps(describe_commit(root), sort_keys=True).encode()}


def resolve_commit(revision: str, root: Path | None = None) -> str | None:
    """Return the full id of a commit, or None if the repository does not have it."""
    try:
        return run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=root)
    except EdgeproofError:
        return None
