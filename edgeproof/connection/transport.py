"""The contract of a transport: how files and commands reach a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class DeviceTransport(Protocol):
    """An open transport to one device. All names are relative to edgeproof's directory on the device.

    Every method but `remove` raises DeviceError when it fails, DeviceUnreachableError when the link is lost, and
    DeviceRefusedError when only a person can open the link: a key is unknown or has changed, or the login is refused.
    """

    def push(self, path: Path, name: str) -> None:
        """Copy a file or directory to the device under a name, unless the same content is there already."""

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command on the device; return its exit code and the end of its output.

        A command that runs longer than `timeout_s` is ended with everything that it started.
        """

    def pull(self, name: str, path: Path) -> None:
        """Copy a directory from the device into the directory `path`."""

    def remove(self, name: str) -> None:
        """Delete a directory on the device. An unreachable device keeps it."""
