"""Leases of devices: files under flock(2) that name their holder. The kernel releases a lease when its holder ends."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgeproof.core.errors import DeviceError
from edgeproof.paths import WORK

LEASES = WORK / "farm" / "leases"
LOCK_ATTEMPTS = 5
LOCK_RETRY_S = 0.05
UNKNOWN_HOLDER = "another process"


class DeviceBusyError(DeviceError):
    """Another process holds the device's lease."""


@dataclass(frozen=True)
class LeaseHolder:
    """The process that holds a lease, since when (ISO 8601), and what for."""

    pid: int
    host: str
    since: str
    purpose: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.purpose})"

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"pid": self.pid, "host": self.host, "since": self.since, "why": self.purpose}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LeaseHolder:
        """Read what `to_json` returned. Raises KeyError or TypeError for anything else."""
        return cls(content["pid"], content["host"], content["since"], content["why"])


@contextmanager
def hold(device: str, purpose: str) -> Iterator[None]:
    """Hold a device's lease while the block runs. Raises DeviceBusyError, naming the holder, when it is taken."""
    LEASES.mkdir(parents=True, exist_ok=True)
    # The jobs don't inherit the descriptor: the lease ends with this process, however it ends.
    descriptor = os.open(LEASES / device, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(descriptor):
            raise DeviceBusyError(f"device '{device}' is in use by {describe_holder(device) or UNKNOWN_HOLDER}")
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        holder = LeaseHolder(os.getpid(), socket.gethostname(), since, purpose)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder.to_json()).encode(), 0)
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
    path = LEASES / device
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            try:
                return str(LeaseHolder.from_json(json.load(file)))
            except (ValueError, KeyError, TypeError):
                return UNKNOWN_HOLDER
