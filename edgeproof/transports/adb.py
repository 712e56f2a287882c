"""An Android device that `adb` reaches by its serial number, which `adb devices` lists."""

from __future__ import annotations

from pathlib import Path

from edgeproof.connection.shell import ShellTransport

HOST = "a serial number of 'adb devices'"
PYTHON = "python3"
TRY = "adb -s {host} shell true"
DIRECTORY = "/data/local/tmp/edgeproof"


class Transport(ShellTransport):
    """The transport to an Android device. It works in a directory where the device's shell may write and execute."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        super().__init__(["adb", "-s", str(host), "shell", "-e", "none", "-T"], f"{DIRECTORY}/{root.name}")
