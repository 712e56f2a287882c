"""An Android device behind the platform tool `adb`, known by its serial number (`adb devices` lists them)."""

from __future__ import annotations

from pathlib import Path

from edgeproof.connection.shell import ShellTransport

HOST = "a serial number of 'adb devices'"
PYTHON = "python3"
TRY = "adb -s {host} shell true"
DIRECTORY = "/data/local/tmp/edgeproof"


class Transport(ShellTransport):
    """Reaches a device by its serial number; works where its shell may write and execute."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        super().__init__(["adb", "-s", str(host), "shell", "-e", "none", "-T"], f"{DIRECTORY}/{root.name}")
