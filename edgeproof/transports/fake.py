"""This machine as a device that fails on purpose, to see what becomes of a measurement when a board does.

The faults are scripted in faults.yaml in the device's directory (.edgeproof/devices/<name>), read at each call:

    - {call: push, nth: 2, fault: corrupted file}   # the second push; every one without nth
    - {call: run, fault: lying output, text: "42"}

A fault happens once its call is counted; without a script the device works as the local one does.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from edgeproof.config.validation import Frozen, validate
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
# Run before a command: no file may grow beyond 4 KiB, as on a full disk.
_FULL = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
os.execvp(sys.argv[1], sys.argv[1:])
"""
# Run in place of Python: an hour is added to the settable clock once it has been asked often enough for a run to be
# under way.
_STEPPED = """\
import os, runpy, sys, time
true, asked = time.time_ns, [0]
def stepped():
    asked[0] += 1
    return true() + (3_600 * 10**9 if asked[0] > 1 else 0)
time.time_ns = stepped
del sys.argv[0]
sys.argv[0] = os.path.abspath(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Fault(Frozen):
    """One line of the script."""

    call: TransportCall
    fault: FaultKind
    nth: int | None = Field(default=None, ge=1, description="which call of its kind, counted from 1; every one")
    text: str = Field(default='{"status": "done"}', description="what a lying device says: printed, or in result.json")


class Transport(local.Transport):
    """The local device, with the faults of its script."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        super().__init__(root)
        self._calls: Counter[TransportCall] = Counter()
        self._spoils = False

    def push(self, path: Path, name: str) -> None:
        """Bring a file or directory to the device, unless the script has it fail."""
        fault = self._next("push")
        self._spoils = fault is not None and fault.fault == "corrupted file"
        if fault is not None and fault.fault == "link cut":
            raise DeviceUnreachableError("the link to the device was lost")
        if fault is not None and fault.fault == "disk full":
            raise DeviceError(f"{name} did not arrive on the device: No space left on device")
        super().push(path, name)

    def _copy(self, path: Path, partial: Path) -> None:
        super()._copy(path, partial)
        if self._spoils:
            _spoil(partial)

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command, unless the script has it fail."""
        fault = self._next("run")
        kind = fault.fault if fault is not None else None
        if kind == "hang":
            raise DeviceError(f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card")
        if kind == "corrupted file":
            for stored in sorted((self._root / "store").glob("*")):
                _spoil(stored)
        if kind == "disk full":
            argv = [sys.executable, "-c", _FULL, *argv]
        if kind == "clock stepped" and (program := _program(argv)) is not None:
            argv = [*argv[:program], "-c", _STEPPED, *argv[program:]]
        if fault is not None and kind == "lying output":
            return 0, fault.text
        told = super().run(argv, timeout_s)
        if kind == "link cut":  # the command ran, and nobody heard of it
            raise DeviceUnreachableError("the link to the device was lost")
        return told

    def pull(self, name: str, path: Path) -> None:
        """Bring a directory back, unless the script has it fail."""
        fault = self._next("pull")
        self._spoils = fault is not None and fault.fault == "corrupted file"
        if fault is not None and fault.fault == "link cut":
            raise DeviceUnreachableError("the link to the device was lost")
        super().pull(name, path)
        if fault is not None and fault.fault == "lying output":
            (path / RESULT).write_text(fault.text, encoding="utf-8")

    def _bring(self, source: Path, path: Path) -> None:
        super()._bring(source, path)
        if self._spoils:
            _spoil(path)

    def _next(self, call: TransportCall) -> Fault | None:
        """Count a call; returns the fault that it meets."""
        self._calls[call] += 1
        return next((f for f in self._script() if f.call == call and f.nth in (None, self._calls[call])), None)

    def _script(self) -> list[Fault]:
        path = self._root / FILE
        if not path.is_file():
            return []
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(content, list):
            raise ConfigError(f"{path} must be a list of faults.")
        script = [validate(Fault, line, f"{path}, fault {number}") for number, line in enumerate(content, 1)]
        for fault in script:
            if fault.fault not in (possible := FAULTS_BY_CALL[fault.call]):
                raise ConfigError(f"{path}: a {fault.call} has no '{fault.fault}', only {', '.join(possible)}.")
        return script


def _program(argv: Sequence[str]) -> int | None:
    """Where a command of Python's names the runner; None where it names none."""
    return next((place for place, word in enumerate(argv) if word.endswith(".pyz")), None)


def _spoil(path: Path) -> None:
    """Turn one bit of a file, or of every file in a directory."""
    for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
        content = bytearray(file.read_bytes())
        if content:
            content[len(content) // 2] ^= 1
            file.write_bytes(bytes(content))
