"""The user's private directory on this machine: the same one for all checkouts, logins and services of the user.

It cannot be below /run/user, which is missing while the user is not logged in, nor below $TMPDIR, which differs between
sessions. A lock there would not keep a nightly job and a shell apart.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgeproof.core.errors import EdgeproofError

# The first one that every user may write to. /run/lock is emptied at each start and is on no network drive.
ROOTS = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - the directory below it is checked


def make_private_directory(name: str) -> Path:
    """Return the directory `name` in the user's private directory, and make both if necessary.

    Raises EdgeproofError when another user owns one of them or could have written into it.
    """
    root = next((path for path in ROOTS if os.access(path, os.W_OK | os.X_OK)), ROOTS[-1])
    own = root / f"edgeproof-{os.getuid()}"
    _make(own)
    _make(own / name)
    return own / name


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise EdgeproofError(
            f"{directory} can't be made: {error.strerror or error}. Free or repair {directory.parent}."
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise EdgeproofError(
            f"{directory} belongs to another user or is not a directory, so it is not safe to use. "
            f"Ask its owner or root to remove it: rm -r {directory}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EdgeproofError(
            f"{directory} can be written by other users, so it is not safe to use. Remove it: rm -r {directory}"
        )
    if stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        directory.chmod(stat.S_IRWXU)
