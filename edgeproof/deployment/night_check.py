"""The night's check of deployments: the deployed bytes are on the device, unchanged, and within the card's budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproof.core.errors import DeviceError, EdgeproofError
from edgeproof.deployment import limits, overview
from edgeproof.deployment.answers import DeviceAnswer
from edgeproof.deployment.device_deployment import DeviceTarget
from edgeproof.deployment.expected_versions import ExpectedVersion, read_expected
from edgeproof.farm import alarms, leases
from edgeproof.farm.alarm_details import DeploymentDetails
from edgeproof.farm.alarms import Alarm


def check_deployments(run: str, targets: Sequence[DeviceTarget], report: Callable[[str], None]) -> list[Alarm]:
    """Check the devices that something was deployed to. Write and return an alarm for each with a problem.

    An alarm of the same kind about the device that night is written once.
    """
    written: list[Alarm] = []
    for target in targets:
        alarm = _check_device(run, target)
        if alarm is not None:
            written.append(alarms.write_once(alarm))
            report(str(written[-1]))
    return written


def _check_device(run: str, target: DeviceTarget) -> Alarm | None:
    expected: ExpectedVersion | None = None
    answer: DeviceAnswer | None = None
    try:
        expected = read_expected(target.name)
        if expected is None:
            return None
        with leases.hold(target.name, f"check of deployments, run {run}"):
            answer = _inspect(target)
        problems = overview.list_problems(answer, expected)
    except EdgeproofError as error:
        problems = [" ".join(str(error).split())]
    if not problems:
        return None
    current = None if answer is None else answer.current
    details = DeploymentDetails(
        expected=None if expected is None else expected.sha256,
        actual=None if current is None else current.sha256,
        problems=problems,
    )
    version = "a deployed version" if expected is None else expected.version
    cure = f"'edgeproof deployed --devices {target.name}' shows it again"
    return Alarm(
        "deployment", run, f"deployment on {target.name}", f"{version}: {'; '.join(problems)}. {cure}", details
    )


def _inspect(target: DeviceTarget) -> DeviceAnswer:
    """Verify, check and measure what runs on a device. Raises DeviceError if the device cannot say."""
    program = target.open()
    status = program.read_status()
    if status.current is None or status.outcome != "intact":
        return status
    answer = program.inspect(status.current, limits.choose_settings(target.card))
    if answer.outcome not in ("intact", "refused"):
        raise DeviceError("; ".join(answer.reasons) or f"the device answers '{answer.outcome}'")
    return answer
