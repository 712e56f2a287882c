"""Leases of devices: files under flock(2) that name their holder. The kernel releases a lease when its holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof.config.file_names import check_file_name
from edgeproof.core.errors import DeviceError
from edgeproof.devices.lock_holders import name_holder, read_holder
from edgeproof.paths import WORK

LEASES = WORK / "farm" / "leases"
LOCK_ATTEMPTS = 5
LOCK_RETRY_S = 0.05
UNKNOWN_HOLDER = "another process"


class DeviceBusyError(DeviceError):
    """Another process holds the device's lease."""


@contextmanager
def hold(device: str, purpose: str) -> Iterator[None]:
    """Hold a device's lease while the block runs. Raises DeviceBusyError, naming the holder, when it is taken."""
    path = _locate(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The jobs don't inherit the descriptor: the lease ends with this process, however it ends.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _try_lock(descriptor):
            raise DeviceBusyError(f"device '{device}' is in use by {describe_holder(device) or UNKNOWN_HOLDER}")
        with name_holder(path, purpose):
            yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Try to lock the lease. `describe_holder` locks it for a moment too, so it is tried several times."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
    return False


def describe_holder(device: str) -> str | None:
    """Return a description of the process that holds a device's lease, or None if nobody does."""
    path = _locate(device)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return str(read_holder(path) or UNKNOWN_HOLDER)
        return None


def _locate(device: str) -> Path:
    return LEASES / check_file_name("device", device)
