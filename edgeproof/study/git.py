"""Run git: the commit that is checked out, and the source files that differ from it."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

# Files that affect builds and measurements. Results and the files that DVC writes are not among them.
SOURCES = ("edgeproof", "stages", "plugins", "conf", "devices", "params.yaml", "dvc.yaml", "requirements.lock")
COMMIT_FILE = WORK / "commit.json"
_DUBIOUS_OWNERSHIP = re.compile(r"dubious ownership in repository at '(.+)'")


class ForeignCheckoutError(EdgeproofError):
    """The checkout belongs to another user, so git refuses to read it."""


def run_git(*arguments: str, cwd: Path | None = None, extra_environment: Mapping[str, str] | None = None) -> str:
    """Run git and return what it prints.

    Raises ForeignCheckoutError with the command that allows git to read the checkout of another user, and
    EdgeproofError with git's own message when git fails for another reason.
    """
    environment = {**os.environ, "LC_ALL": "C", **(extra_environment or {})}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise EdgeproofError("git is not installed, or not on the PATH.") from None
    if done.returncode != 0 and (foreign := _DUBIOUS_OWNERSHIP.search(done.stderr)):
        raise ForeignCheckoutError(
            f"git refuses to read {foreign[1]}, because it belongs to another user. To allow it: "
            f"git config --global --add safe.directory {shlex.quote(foreign[1])}"
        )
    if done.returncode != 0:
        raise EdgeproofError(f"git {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}.")
    return done.stdout.rstrip("\n")


def describe_commit(root: Path | None = None) -> dict[str, Any] | None:
    """Return the `id` of the commit that is checked out and the source files `modified` since. None outside git.

    If git refuses to read the checkout, the result is None too, and stderr gets one warning. Sources that were copied
    to another host without git have the file of export_commit instead.
    """
    exported = (root or Path()) / COMMIT_FILE
    if exported.is_file():
        commit: dict[str, Any] | None = json.loads(exported.read_text(encoding="utf-8"))
        return commit
    try:
        head = run_git("rev-parse", "HEAD", cwd=root)
        status = run_git("status", "--porcelain", "--untracked-files=all", "-z", "--", *SOURCES, cwd=root)
    except ForeignCheckoutError as error:
        _warn_once(f"{error}\nUntil then, records do not say which commit measured.")
        return None
    except EdgeproofError:
        return None
    # Each entry is two letters, a space and a path. The old path of a renamed file follows as an entry of its own.
    return {"id": head, "modified": sorted({entry[3:] for entry in status.split("\0") if entry[2:3] == " "})}


def export_commit(root: Path) -> dict[str, bytes]:
    """Return a file, as path → content, that holds describe_commit's answer for copies of `root` without git."""
    return {COMMIT_FILE.as_posix(): json.dumps(describe_commit(root), sort_keys=True).encode()}


def resolve_commit(revision: str, root: Path | None = None) -> str | None:
    """Return the full id of a commit, or None if the repository does not have it. Raises ForeignCheckoutError."""
    try:
        return run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=root)
    except ForeignCheckoutError:
        raise
    except EdgeproofError:
        return None


@functools.cache
def _warn_once(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
