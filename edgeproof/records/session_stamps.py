"""Detect changes of sessions: a stamp changes when a record of the session, or its signature, changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.records.kinds import RECORD_FILE

MISSING = "missing"


def list_sessions(root: Path) -> list[Path]:
    """Return the directories below `root`, sorted. Hidden ones hold unfinished sessions."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def stamp_session(session: Path) -> str:
    """Return a hash that changes when a record below a session, or its signature, is added, removed or rewritten.

    Returns MISSING for a session that is removed in the meantime.
    """
    try:
        lines = sorted(_list_file_states(str(session), ""))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _list_file_states(directory: str, name: str) -> Iterator[str]:
    """Yield the path, time and size of every record, signature and link. Nothing below a record is searched."""
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in (RECORD_FILE, SUMS, SIGNATURE) or entry.is_symlink():
                state = entry.stat(follow_symlinks=False)
                yield f"{name}\0{entry.name}\0{state.st_mtime_ns}\0{state.st_size}\n"
                if entry.name == RECORD_FILE:
                    return
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                below.append(entry)
    for entry in below:
        yield from _list_file_states(entry.path, f"{name}/{entry.name}")
