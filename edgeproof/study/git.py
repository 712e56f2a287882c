"""What git knows of the code that runs: the commit, and which of the files that decide a figure differ from it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

# What a build or a measurement is made of. Results, and what DVC writes while it runs, are not.
SOURCES = ("edgeproof", "stages", "conf", "devices", "params.yaml", "dvc.yaml", "requirements.lock")
SENT = WORK / "commit.json"


def git(*arguments: str, cwd: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    """What git prints, with `more` in its environment. Raises EdgeproofError with git's own words."""
    environment = {**os.environ, **(more or {})}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise EdgeproofError("git is not installed, or not on the PATH.") from None
    if done.returncode != 0:
        raise EdgeproofError(f"git {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}.")
    return done.stdout.rstrip("\n")


def commit(root: Path | None = None) -> dict[str, Any] | None:
    """The commit that is checked out and the source files that differ from it; None where git knows nothing of them.

    Of files that were sent without their repository it is what `sent` knew.
    """
    told = (root or Path()) / SENT
    if told.is_file():
        known_there: dict[str, Any] | None = json.loads(told.read_text(encoding="utf-8"))
        return known_there
    try:
        head = git("rev-parse", "HEAD", cwd=root)
        status = git("status", "--porcelain", "--untracked-files=all", "-z", "--", *SOURCES, cwd=root)
    except EdgeproofError:
        return None
    # Two letters, a space and the path; of a rename the old path follows alone.
    return {"id": head, "modified": sorted({entry[3:] for entry in status.split("\0") if entry[2:3] == " "})}


def sent(root: Path) -> dict[str, bytes]:
    """The file that tells `commit` the same where the sources of `root` are sent without git."""
    return {SENT.as_posix(): json.dumps(commit(root), sort_keys=True).encode()}


def known(revision: str, root: Path | None = None) -> str | None:
    """The full id of a commit that the repository has, or None."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=root)
    except EdgeproofError:
        return None
