"""Ask a device whether it can train clients, before the first round."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import torch
from pydantic import Field, ValidationError

from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError
from edgeproof.devices.runner_result import DeviceReport, ReportName, ReportText

# What the program on the device imports. torch decides the last bits, so it has the server's version.
MODULES = ("torch", "numpy", "pydantic")
MIN_PYTHON = (3, 11)
# The import of torch takes half a minute on a small board.
TIMEOUT_S = 300.0
_PROBE = """\
import json, platform, sys
versions, problems = {}, {}
for name in sys.argv[1:]:
    try:
        versions[name] = str(__import__(name).__version__)
    except Exception as error:
        absent = isinstance(error, ImportError) and error.name == name
        problems[name] = "is not installed" if absent else "fails: %s: %s" % (type(error).__name__, error)
torch = sys.modules["torch"] if "torch" in versions else None
print(json.dumps({
    "python": list(sys.version_info[:2]), "machine": platform.machine(), "versions": versions, "problems": problems,
    "capability": torch.backends.cpu.get_cpu_capability() if torch else "",
}))
"""


class Readiness(DeviceReport):
    """The answer of a device.

    Attributes:
        capability: the instructions for which torch chooses its kernels there.
        versions, problems: of the modules that it can import, and of the others.
    """

    python: list[int] = Field(min_length=2, max_length=2)
    machine: ReportName
    capability: ReportName
    versions: dict[ReportName, ReportName]
    problems: dict[ReportName, ReportText]

    def list_problems(self) -> list[str]:
        """Return what keeps the device from training, one phrase each."""
        if self._is_too_old():
            return [f"its Python is {'.'.join(map(str, self.python))}"]
        problems = [f"{name} {self.problems.get(name, 'is unknown')}" for name in MODULES if name not in self.versions]
        if "torch" in self.versions and not self._has_same_torch():
            problems.append(f"torch is {self.versions['torch']}, and this machine has {find_version('torch')}")
        return problems

    def suggest_cure(self, python: str) -> str:
        """Return what to do about the problems on the device."""
        if self._is_too_old():
            return (
                f"Install Python {'.'.join(map(str, MIN_PYTHON))} or newer there, and name it as 'python' in the card."
            )
        wanted = [
            name for name in MODULES if name not in self.versions or (name == "torch" and not self._has_same_torch())
        ]
        return f"Run there: {python} -m pip install {' '.join(f'{name}=={find_version(name)}' for name in wanted)}"

    def describe_difference(self) -> str | None:
        """Return how the device differs from this machine in what decides the last bits, or None."""
        own = (platform.machine(), torch.backends.cpu.get_cpu_capability())
        there = (self.machine, self.capability)
        return None if own == there else f"{' '.join(there)}, and this machine {' '.join(own)}"

    def _is_too_old(self) -> bool:
        return tuple(self.python) < MIN_PYTHON

    def _has_same_torch(self) -> bool:
        return self.versions.get("torch", "").split("+")[0] == find_version("torch")


def ask(transport: DeviceTransport, python: str) -> Readiness:
    """Return a device's answer. Raises DeviceError without a valid one."""
    code, output = transport.run([python, "-B", "-c", _PROBE, *MODULES], TIMEOUT_S)
    last = (output.strip().splitlines() or ["no output"])[-1]
    if code != 0:
        raise DeviceError(f"'{python}' does not run there (exit code {code}): {last:.200}")
    try:
        return Readiness.model_validate(json.loads(last))
    except (ValidationError, ValueError, RecursionError):
        raise DeviceError(f"it does not say what it can do: {last:.200}") from None


def find_version(package: str) -> str:
    """Return the version of a package on this machine, without the name of its build."""
    return metadata.version(package).split("+")[0]
