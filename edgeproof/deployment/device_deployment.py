"""Deploy to one device, or take it back: the steps, and the next command if a step fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgeproof.config import cards
from edgeproof.config.cards import Card
from edgeproof.core.errors import DeviceError, DeviceUnreachableError
from edgeproof.deployment import limits
from edgeproof.deployment.answers import DeployedVersion, DeviceAnswer, DeviceFigures
from edgeproof.deployment.device_program import DeviceProgram, pack_program
from edgeproof.deployment.expected_versions import ExpectedVersion, write_expected
from edgeproof.deployment.package import Package
from edgeproof.devices import device
from edgeproof.devices.device import explain_missing_runtime
from edgeproof.farm import leases
from edgeproof.paths import WORK

PROGRAMS = WORK / "deployments" / "programs"
ATTEMPTS = 3
PAUSE_S = 2.0
# The device needs this multiple of a bundle: the files, and the archive while it is unpacked.
SPACE_FACTOR = 2.1
Result = TypeVar("Result")


class DeploymentRefusedError(DeviceError):
    """A device refused a version, or what it runs cannot be changed. It runs what it ran before."""


@dataclass(frozen=True)
class DeviceTarget:
    """A device to change: its name, its card, and the deployment program to push to it."""

    name: str
    card: Card
    program: Path

    def open(self) -> DeviceProgram:
        """Open the device's transport and return its deployment program."""
        return DeviceProgram(self.name, self.card, device.open_transport(self.name, self.card), self.program)


def list_targets(names: Sequence[str]) -> list[DeviceTarget]:
    """Return the targets for some devices with cards, and write the deployment program for them."""
    program = pack_program(PROGRAMS)
    return [DeviceTarget(name, cards.read(name), program) for name in names]


def deploy(target: DeviceTarget, package: Package) -> str:
    """Bring a version to a device and switch over. Return what was done, in words.

    Raises DeviceError if the device runs what it ran before, or if the link was lost so often that nobody knows.
    """
    if (reason := explain_missing_runtime(target.name, target.card, package.runtime)) is not None:
        raise DeploymentRefusedError(reason)
    if (reason := limits.find_size_problem(target.card, package)) is not None:
        raise DeploymentRefusedError(reason)
    with leases.hold(target.name, f"deployment of {package.label}"):
        answer = _retry(lambda: _deploy_once(target, package))
        current = _require_current(answer, package.sha256)
        write_expected(target.name, _to_expected(current, package.signer))
    if answer.outcome == "unchanged":
        return f"{package.label} runs already, since {current.since}"
    before = "" if answer.previous is None else f"; before: {answer.previous.label}"
    return f"{package.label} runs{_format_figures(answer.figures)}{before}"


def roll_back(target: DeviceTarget) -> str:
    """Take a device back to the version before. Return what was done, in words. Raises DeviceError as `deploy` does."""
    with leases.hold(target.name, "rollback"):
        status = _retry(lambda: target.open().read_status())
        if status.current is None:
            raise DeploymentRefusedError("nothing is deployed here")
        if status.current.origin == "rollback":
            _store(target.name, status.current)
            return f"{status.current.label} runs again already, since {status.current.since}"
        left = status.current
        answer = _retry(lambda: _roll_back_once(target, left))
        if answer.current is None:
            raise DeviceError("the device reports that nothing is deployed there any more")
        _store(target.name, answer.current)
    return f"{answer.current.label} runs again; it replaces {left.label}"


def _deploy_once(target: DeviceTarget, package: Package) -> DeviceAnswer:
    """Send the bundle if the device lacks it, and activate it."""
    program, settings = target.open(), limits.choose_settings(target.card)
    status = program.read_status()
    if package.sha256 not in status.held:
        needed_bytes = SPACE_FACTOR * package.total_bytes
        if status.free_bytes < needed_bytes:
            free_mb, needed_mb = status.free_bytes / 1e6, needed_bytes / 1e6
            raise DeploymentRefusedError(
                f"its disk has {free_mb:.1f} MB free, and the bundle needs {needed_mb:.1f} MB. "
                "Free some space there, then run the same command again"
            )
        program.send(package)
    answer = program.activate(package, settings)
    if answer.outcome == "missing":  # the version on the device was damaged, or another host has removed it
        program.send_again(package)
        answer = program.activate(package, settings)
    if answer.outcome not in ("switched", "unchanged"):
        raise DeploymentRefusedError(_explain(answer))
    return answer


def _roll_back_once(target: DeviceTarget, left: DeployedVersion) -> DeviceAnswer:
    """Go back from the version `left`, unless an attempt before has done so and only its answer was lost."""
    program = target.open()
    status = program.read_status()
    current, previous = status.current, status.previous
    if current is not None and current.origin == "rollback" and current.sha256 != left.sha256:
        return status
    if current is None or previous is None:
        raise DeploymentRefusedError("there is no version before on the device. Deploy one with 'edgeproof deploy'")
    answer = program.roll_back(left, previous, limits.choose_settings(target.card))
    if answer.outcome != "switched":
        raise DeploymentRefusedError(_explain(answer))
    return answer


def _retry(action: Callable[[], Result]) -> Result:
    """Repeat an action while the link is lost. Every action may be repeated: the device knows what was done."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except DeviceUnreachableError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


def _require_current(answer: DeviceAnswer, sha256: str) -> DeployedVersion:
    """Return the version that the device runs. Raises DeviceError unless it is the expected one."""
    if answer.current is None or answer.current.sha256 != sha256:
        runs = "nothing" if answer.current is None else answer.current.label
        raise DeviceError(f"the device reports that {runs} is deployed after the switch")
    return answer.current


def _explain(answer: DeviceAnswer) -> str:
    reasons = "; ".join(answer.reasons) or f"the device answers '{answer.outcome}'"
    runs = "nothing is deployed there" if answer.current is None else f"it still runs {answer.current.label}"
    if answer.outcome == "busy":
        return f"another host changes its deployments: {reasons}. Wait for it, then run the same command again"
    return f"{reasons} ({runs})"


def _store(name: str, current: DeployedVersion) -> None:
    write_expected(name, _to_expected(current, current.signer or "unknown"))


def _to_expected(current: DeployedVersion, signer: str) -> ExpectedVersion:
    origin = "rollback" if current.origin == "rollback" else "deploy"
    content = {"version": current.label, "sha256": current.sha256, "signer": signer, "since": current.since}
    return ExpectedVersion.model_validate({"schema": 1, "origin": origin, **content})


def _format_figures(figures: DeviceFigures | None) -> str:
    if figures is None:
        return ""
    return f": p90 up to {figures.p90_upper_ns / 1e6:.3g} ms, memory {figures.peak_rss_bytes / 1e6:.1f} MB"
