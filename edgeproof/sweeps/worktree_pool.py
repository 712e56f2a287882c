"""Worktrees that points run in: each used by one process at a time, all with the code of the sweep that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof import paths
from edgeproof.core.directories import write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks
from edgeproof.study import worktrees

LOCKS = paths.WORK / "locks"
WORKTREES = paths.WORK / "sweeps"
# The worktree that holds the code of the sweep that runs, as it was when the sweep began; others are copied from it.
FIRST = WORKTREES / "0"
CODE_MARK = "code_sha256"


def prepare_code() -> str:
    """Put the working tree's files where this sweep's points find them, and return their hash."""
    with locks.held(_slot_lock(FIRST)):
        return _refresh(FIRST, Path())


@contextmanager
def slot(code: str) -> Iterator[Path]:
    """A worktree with the sweep's code, in place of another one's, for as long as the block runs."""
    with _free() as worktree:
        mark = worktree / paths.WORK / CODE_MARK
        there = mark.read_text(encoding="ascii") if mark.is_file() else ""
        if there != code and _refresh(worktree, FIRST) != code:
            raise EdgeproofError("another sweep began meanwhile with other code. Run the same command again.")
        # What a killed process left; a running one would hold the slot.
        (worktree / ".dvc/tmp/rwlock").unlink(missing_ok=True)
        yield worktree


def _refresh(worktree: Path, source: Path) -> str:
    """Bring a worktree's files to those of `source`, and mark it with their hash."""
    mark = worktree / paths.WORK / CODE_MARK
    mark.unlink(missing_ok=True)
    with locks.held(LOCKS / "worktrees"):
        worktrees.refresh(worktree, source)
    code = worktrees.code_sha256(worktree)
    write_text(mark, code)
    return code


@contextmanager
def _free() -> Iterator[Path]:
    number = 0
    while True:
        worktree = WORKTREES / str(number)
        with locks.held_or_none(_slot_lock(worktree)) as mine:
            if mine:
                yield worktree
                return
        number += 1


def _slot_lock(worktree: Path) -> Path:
    return LOCKS / f"worktree-{worktree.name}"
