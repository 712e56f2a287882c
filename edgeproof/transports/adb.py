"""An Android device that `adb` reaches by its serial number, which `adb devices` lists."""

from __future__ import annotations

import re
from pathlib import Path

from edgeproof.connection.shell import ShellTransport

HOST = "a serial number of 'adb devices'"
PYTHON = "python3"
TRY = "adb -s {host} shell true"
DIRECTORY = "/data/local/tmp/edgeproof"
_UNAUTHORIZED = re.compile(r"^(?:error|adb): device unauthorized", re.M)


class Transport(ShellTransport):
    """The transport to an Android device. It works in a directory where the device's shell may write and execute."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        super().__init__(["adb", "-s", str(host), "shell", "-e", "none", "-T"], f"{DIRECTORY}/{root.name}")
        self._serial = str(host)

    def explain_refusal(self, exit_code: int, output: str) -> str | None:
        """Return that the phone has not accepted this computer, if adb says so."""
        if exit_code == 0 or not _UNAUTHORIZED.search(output):
            return None
        return (
            f"{self._serial} refused the connection: it has not accepted this computer's key. Unlock its screen, "
            f"accept the key there, then try: {TRY.format(host=self._serial)}"
        )
