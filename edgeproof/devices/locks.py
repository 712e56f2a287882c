"""The locks of this machine: one session measures on a device at a time, and no build runs beside a measurement."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeproof.core.errors import EdgeproofError
from edgeproof.core.file_locks import hold


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
