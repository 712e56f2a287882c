"""Temporary names of files and directories that are being written, and the swap that puts a directory in place.

Every name is unique, so several processes can write the same target at once. A partial directory is locked while it is
being filled. One that is not locked is a leftover of a killed process. The next writer of the same target removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof.core import file_locks

SUFFIX = ".part"
_TOKEN_BYTES = 8
# Constants of renameat2(2).
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# How often a swap or a new directory is tried again when other processes interfere.
_MAX_ATTEMPTS = 100


def name_partial(path: Path) -> Path:
    """Return a unique hidden name beside `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN_BYTES)}{SUFFIX}")


@contextmanager
def hold_partial_directory(directory: Path) -> Iterator[Path]:
    """Yield a new, locked partial directory beside `directory`.

    Afterwards, whatever has its name is removed. After a swap, that is the older content of `directory`.
    """
    for leftover in _list_partial(directory):
        _remove_unused(leftover, without_locks=False)
    partial, descriptor = _create(directory)
    try:
        yield partial
    finally:
        if descriptor is not None:
            os.close(descriptor)
        _remove_unused(partial, without_locks=True)


def _remove_unused(path: Path, *, without_locks: bool) -> None:
    """Remove a directory or file, unless a process holds the directory's lock. Never raises OSError.

    `without_locks` says whether to remove it on a file system that has no locks.
    """
    descriptor = None
    try:
        descriptor = file_locks.lock_directory(path)
    except (BlockingIOError, FileNotFoundError):
        return
    except NotADirectoryError:
        with contextlib.suppress(OSError):
            path.unlink()
        return
    except OSError:
        if not without_locks:
            return
    shutil.rmtree(path, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)


def swap(new: Path, target: Path) -> None:
    """Rename the directory `new` to `target`. An older `target` gets the name of `new`.

    Where Linux can exchange two names, `target` exists at any moment. If a rename fails, the older `target` is put
    back.
    """
    for _ in range(_MAX_ATTEMPTS):
        if _exchange(new, target):
            return
        # The suffix differs: if this process is killed now, no writer may remove the only copy as a leftover.
        older = name_partial(target).with_suffix(".old")
        has_older = _rename_if_exists(target, older)
        try:
            new.rename(target)
        except BaseException as error:
            if has_older and not target.exists():
                older.rename(target)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                if older.exists():  # another process was faster: the older content is a leftover, also while it is read
                    leftover = name_partial(target)
                    older.rename(leftover)
                    _remove_unused(leftover, without_locks=True)
                continue
            raise
        if has_older:
            older.rename(new)
        return
    raise OSError(errno.EBUSY, "other processes keep replacing it")


def _rename_if_exists(path: Path, name: Path) -> bool:
    try:
        path.rename(name)
    except FileNotFoundError:
        return False
    return True


def _create(directory: Path) -> tuple[Path, int | None]:
    """Create and lock a partial directory; return its path and the lock, None on a file system without locks."""
    for _ in range(_MAX_ATTEMPTS):
        partial = name_partial(directory)
        partial.mkdir()
        try:
            descriptor = file_locks.lock_directory(partial)
        except (BlockingIOError, FileNotFoundError):
            continue  # before it was locked, another writer took it for a leftover
        except OSError:
            return partial, None
        if partial.is_dir():
            return partial, descriptor
        os.close(descriptor)
    raise OSError(errno.EBUSY, "other processes keep removing its partial directories")


def _list_partial(directory: Path) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(directory.name)}\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}{re.escape(SUFFIX)}")
    return [path for path in directory.parent.iterdir() if pattern.fullmatch(path.name)]


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once. Returns False if one does not exist, or if the system cannot do it."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
