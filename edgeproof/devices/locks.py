"""Locks that end with their holder, however it ends: files under flock(2), released by the kernel."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeproof.core.errors import EdgeproofError


@contextmanager
def held(path: Path, *, shared: bool = False, if_busy: str | None = None) -> Iterator[None]:
    """Wait for the lock `path`, alone or shared with others that share it, and hold it while the block runs.

    `if_busy` is said on stderr before waiting.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if if_busy is not None:
                print(f"  {if_busy}", file=sys.stderr)
            fcntl.flock(descriptor, kind)
        yield


@contextmanager
def held_or_none(path: Path) -> Iterator[bool]:
    """Hold the lock `path` while the block runs if nobody has it; says whether it is held."""
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def measuring(device: str, *, here: bool) -> Iterator[None]:
    """Be the only one who measures on `device`; where that is this machine, nobody builds meanwhile either."""
    with ExitStack() as locks:
        busy = f"waiting for device '{device}', on which another session measures"
        locks.enter_context(held(_of_machine() / f"device-{device}", if_busy=busy))
        if here:
            # Builders pass the gate one by one, so that a measurement that waits at it is next.
            locks.enter_context(held(_of_machine() / "gate"))
            locks.enter_context(held(_of_machine() / "building", if_busy="waiting until nothing is built beside it"))
        yield


@contextmanager
def building() -> Iterator[None]:
    """Build beside other builds, but never beside a measurement on this machine."""
    with ExitStack() as locks:
        with held(_of_machine() / "gate"):
            locks.enter_context(held(_of_machine() / "building", shared=True))
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not inherited by programs this process starts: they must not keep the lock after it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _of_machine() -> Path:
    """The user's own directory for what concerns the whole machine, whichever checkout or login asks."""
    user = os.getuid()
    runtime = Path(f"/run/user/{user}")
    directory = runtime / "edgeproof" if runtime.is_dir() else Path(tempfile.gettempdir(), f"edgeproof-{user}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != user or directory.is_symlink():
        raise EdgeproofError(f"{directory} belongs to somebody else, so locks in it prove nothing. Remove it.")
    return directory
