"""The pool of worktrees in which points run. One process uses a worktree at a time, and all hold the sweep's code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof import paths
from edgeproof.core import file_locks
from edgeproof.core.directories import write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.study import worktrees

LOCKS = paths.WORK / "locks"
WORKTREES = paths.WORK / "sweeps"
# Holds the code as it was when the sweep started. The other worktrees are copied from it.
SOURCE_WORKTREE = WORKTREES / "0"
CODE_FILE = "code_sha256"


def prepare_code() -> str:
    """Copy the working tree's files into the source worktree and return their hash."""
    with file_locks.hold(_lock_path(SOURCE_WORKTREE)):
        return _refresh(SOURCE_WORKTREE, Path())


@contextmanager
def hold_worktree(code_sha256: str) -> Iterator[Path]:
    """Hold a free worktree with the sweep's code while the block runs.

    Raises EdgeproofError when the source worktree has other code, since another sweep has started.
    """
    with _hold_free_worktree() as worktree:
        code_file = worktree / paths.WORK / CODE_FILE
        current = code_file.read_text(encoding="ascii", errors="replace") if code_file.is_file() else ""
        if current != code_sha256 and _refresh(worktree, SOURCE_WORKTREE) != code_sha256:
            raise EdgeproofError("another sweep has started with other code. Run the same command again.")
        # A killed process leaves DVC's lock behind. No process that uses it can be running: we hold the worktree.
        (worktree / ".dvc/tmp/rwlock").unlink(missing_ok=True)
        yield worktree


def _refresh(worktree: Path, source: Path) -> str:
    """Copy the files of `source` into a worktree, then write and return their hash."""
    code_file = worktree / paths.WORK / CODE_FILE
    code_file.unlink(missing_ok=True)
    with file_locks.hold(LOCKS / "worktrees"):
        worktrees.refresh(worktree, source)
    code_sha256 = worktrees.hash_code(worktree)
    write_text(code_file, code_sha256)
    return code_sha256


@contextmanager
def _hold_free_worktree() -> Iterator[Path]:
    number = 0
    while True:
        worktree = WORKTREES / str(number)
        with file_locks.try_hold(_lock_path(worktree)) as is_held:
            if is_held:
                yield worktree
                return
        number += 1


def _lock_path(worktree: Path) -> Path:
    return LOCKS / f"worktree-{worktree.name}"
