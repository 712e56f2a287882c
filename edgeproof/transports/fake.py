"""This machine as a device that fails on purpose, to test measurements on a failing board.

The file faults.yaml in the device's directory (.edgeproof/devices/<name>) lists the faults. It is read at each call:

    - {call: push, nth: 2, fault: corrupted file}   # the second push
    - {call: run, fault: lying output, text: "42"}  # every run

Without that file the device works like the local one.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeproof.config.validation import Frozen, validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.errors import ConfigError, DeviceError, DeviceUnreachableError
from edgeproof.transports import local

HOST = None
FILE = "faults.yaml"
RESULT = "result.json"

TransportCall = Literal["push", "run", "pull"]
FaultKind = Literal["link cut", "disk full", "corrupted file", "hang", "lying output", "clock stepped"]
FAULTS_BY_CALL: dict[TransportCall, tuple[FaultKind, ...]] = {
    "push": ("link cut", "disk full", "corrupted file"),
    "run": ("link cut", "disk full", "corrupted file", "hang", "lying output", "clock stepped"),
    "pull": ("link cut", "corrupted file", "lying output"),
}
# A program that runs a command in which no file may grow beyond 4 KiB, as on a full disk.
_FULL_DISK = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
os.execvp(sys.argv[1], sys.argv[1:])
"""
# A program that runs another Python program. It adds an hour to the settable clock from the second reading on, which is
# when a run is under way.
_STEPPED_CLOCK = """\
import os, runpy, sys, time
read_clock, readings = time.time_ns, [0]
def read_stepped_clock():
    readings[0] += 1
    return read_clock() + (3_600 * 10**9 if readings[0] > 1 else 0)
time.time_ns = read_stepped_clock
del sys.argv[0]
sys.argv[0] = os.path.abspath(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Fault(Frozen):
    """One fault of the script."""

    call: TransportCall
    fault: FaultKind
    nth: int | None = Field(default=None, ge=1, description="the number of the call, from 1; every call if left out")
    text: str = Field(
        default='{"status": "done"}', description="the false output of 'lying output': printed, or in result.json"
    )


class Transport(local.Transport):
    """The local device, with the faults of its script."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        super().__init__(root)
        self._calls: Counter[TransportCall] = Counter()
        self._corrupts = False

    def push(self, path: Path, name: str) -> None:
        """Copy a file or directory to the device, unless the script makes the call fail."""
        fault = self._count_call("push")
        self._corrupts = fault is not None and fault.fault == "corrupted file"
        if fault is not None and fault.fault == "link cut":
            raise DeviceUnreachableError("the link to the device was lost")
        if fault is not None and fault.fault == "disk full":
            raise DeviceError(f"{name} did not arrive on the device: No space left on device")
        super().push(path, name)

    def _copy(self, path: Path, partial: Path) -> None:
        super()._copy(path, partial)
        if self._corrupts:
            _flip_bit(partial)

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command, unless the script makes the call fail."""
        fault = self._count_call("run")
        kind = fault.fault if fault is not None else None
        if kind == "hang":
            raise DeviceError(f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card")
        if kind == "corrupted file":
            for stored in sorted((self._root / "store").glob("*")):
                _flip_bit(stored)
        if kind == "disk full":
            argv = [sys.executable, "-c", _FULL_DISK, *argv]
        if kind == "clock stepped" and (index := _find_runner(argv)) is not None:
            argv = [*argv[:index], "-c", _STEPPED_CLOCK, *argv[index:]]
        if fault is not None and kind == "lying output":
            return 0, fault.text
        outcome = super().run(argv, timeout_s)
        if kind == "link cut":  # the command ran, but its outcome is lost
            raise DeviceUnreachableError("the link to the device was lost")
        return outcome

    def pull(self, name: str, path: Path) -> None:
        """Copy a directory from the device, unless the script makes the call fail."""
        fault = self._count_call("pull")
        self._corrupts = fault is not None and fault.fault == "corrupted file"
        if fault is not None and fault.fault == "link cut":
            raise DeviceUnreachableError("the link to the device was lost")
        super().pull(name, path)
        if fault is not None and fault.fault == "lying output":
            (path / RESULT).write_text(fault.text, encoding="utf-8")

    def _copy_back(self, source: Path, path: Path) -> None:
        super()._copy_back(source, path)
        if self._corrupts:
            _flip_bit(path)

    def _count_call(self, call: TransportCall) -> Fault | None:
        """Count a call and return its fault, or None."""
        self._calls[call] += 1
        return next((f for f in self._read_script() if f.call == call and f.nth in (None, self._calls[call])), None)

    def _read_script(self) -> list[Fault]:
        path = self._root / FILE
        if not path.is_file():
            return []
        content = read_yaml(path)
        if not isinstance(content, list):
            raise ConfigError(f"{path} must be a list of faults.")
        script = [validate(Fault, line, f"{path}, fault {number}") for number, line in enumerate(content, 1)]
        for fault in script:
            if fault.fault not in (possible := FAULTS_BY_CALL[fault.call]):
                raise ConfigError(
                    f"{path}: the call '{fault.call}' has no fault '{fault.fault}'. Allowed: {', '.join(possible)}."
                )
        return script


def _find_runner(argv: Sequence[str]) -> int | None:
    """Return the index of the runner in a command, or None if the command does not run it."""
    return next((index for index, word in enumerate(argv) if word.endswith(".pyz")), None)


def _flip_bit(path: Path) -> None:
    """Flip one bit of a file, or of every file in a directory."""
    for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
        content = bytearray(file.read_bytes())
        if content:
            content[len(content) // 2] ^= 1
            file.write_bytes(bytes(content))
