"""Locks between processes: files under flock(2), which the kernel releases when their holder ends, even if killed."""

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
def hold(path: Path, *, shared: bool = False, if_busy: str | None = None) -> Iterator[None]:
    """Wait for the lock `path` and hold it while the block runs.

    Several processes can hold a `shared` lock at once. `if_busy` is printed to stderr before waiting.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _open(path) as descriptor:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if if_busy is not None:
                print(f"  {if_busy}", file=sys.stderr)
            fcntl.flock(descriptor, kind)
        yield


@contextmanager
def try_hold(path: Path) -> Iterator[bool]:
    """Hold the lock `path` while the block runs if it is free. Yields True if the lock is held, else False."""
    with _open(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def hold_for_measuring(device: str, *, here: bool) -> Iterator[None]:
    """Hold the locks of a measurement, so that nothing else measures on `device`.

    If the device is this machine (`here`), nothing builds on it either.
    """
    with ExitStack() as locks:
        busy = f"waiting for device '{device}', on which another session measures"
        locks.enter_context(hold(_get_lock_directory() / f"device-{device}", if_busy=busy))
        if here:
            # Builds pass the gate one by one, so that a measurement that waits at the gate comes before later builds.
            locks.enter_context(hold(_get_lock_directory() / "gate"))
            locks.enter_context(
                hold(_get_lock_directory() / "building", if_busy="waiting until no build runs on this machine")
            )
        yield


@contextmanager
def hold_for_building() -> Iterator[None]:
    """Hold the lock of a build: other builds may run, but no measurement on this machine."""
    with ExitStack() as locks:
        with hold(_get_lock_directory() / "gate"):
            locks.enter_context(hold(_get_lock_directory() / "building", shared=True))
        yield


@contextmanager
def _open(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC: programs that this process starts must not keep the lock after it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _get_lock_directory() -> Path:
    """Return the user's directory for locks, the same one for all checkouts and logins."""
    user = os.getuid()
    runtime = Path(f"/run/user/{user}")
    directory = runtime / "edgeproof" if runtime.is_dir() else Path(tempfile.gettempdir(), f"edgeproof-{user}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != user or directory.is_symlink():
        raise EdgeproofError(f"{directory} belongs to somebody else, so its locks can't be trusted. Remove it.")
    return directory
