"""Locks between processes: files under flock(2), which the kernel releases when their holder ends, even if killed."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(path: Path, *, shared: bool = False, if_busy: str | Callable[[], str | None] | None = None) -> Iterator[None]:
    """Wait for the lock `path` and hold it while the block runs.

    Several processes can hold a `shared` lock at once. `if_busy`, or what it returns, is printed to stderr before
    waiting.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _open(path) as descriptor:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if (message := if_busy() if callable(if_busy) else if_busy) is not None:
                print(f"  {message}", file=sys.stderr)
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


def lock_directory(directory: Path) -> int:
    """Lock a directory itself, without waiting. Returns a descriptor, whose closing releases the lock.

    Raises BlockingIOError if another process holds the lock, FileNotFoundError if the directory is gone, and another
    OSError on a file system without such locks.
    """
    descriptor = open_directory(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def share_directory(directory: Path) -> int:
    """Open a directory and wait for a shared lock on it, which keeps `lock_directory` out. Returns the descriptor.

    Raises FileNotFoundError if the directory does not exist.
    """
    while True:
        descriptor = open_directory(directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:  # a file system without locks
            return descriptor
        # Another directory may have taken the name in the meantime, and this one may be deleted.
        if _is_at(descriptor, directory):
            return descriptor
        os.close(descriptor)


def open_directory(directory: Path) -> int:
    """Open a directory and return the descriptor. Raises OSError for anything else."""
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_at(descriptor: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _open(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC: programs that this process starts must not keep the lock after it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
