"""Who has a device: a file under flock(2), which a crash releases, that names its holder."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edgeproof.core.errors import DeviceError
from edgeproof.paths import WORK

LEASES = WORK / "farm" / "leases"
LOCK_ATTEMPTS = 5
LOCK_RETRY_S = 0.05


class DeviceBusyError(DeviceError):
    """Somebody else has the device."""


@contextmanager
def hold(device: str, why: str) -> Iterator[None]:
    """Have a device while the block runs. Raises Taken, naming the holder, where another process has it."""
    LEASES.mkdir(parents=True, exist_ok=True)
    # Not inherited by the jobs: the lease ends with this process, however it ends.
    descriptor = os.open(LEASES / device, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(descriptor):
            raise DeviceBusyError(f"device '{device}' is taken by {describe_holder(device) or 'another process'}")
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        content = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "why": why}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(content).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is had now; who only asks for its holder has it for a moment too, and is waited for."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
    return False


def describe_holder(device: str) -> str | None:
    """Who has a device now, in words; None where nobody has."""
    path = LEASES / device
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            try:
                told = json.load(file)
                return f"process {told['pid']} on {told['host']} since {told['since']} ({told['why']})"
            except (ValueError, KeyError, TypeError):
                return "another process"
