"""The versions that run on devices, each verified on its device at that moment."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from dataclasses import dataclass

from edgeproof.core.errors import EdgeproofError
from edgeproof.deployment.answers import DeviceAnswer
from edgeproof.deployment.device_deployment import DeviceTarget
from edgeproof.deployment.expected_versions import ExpectedVersion, read_expected
from edgeproof.provenance.stored import SHA256_DIGITS

NOTHING = "–"


@dataclass(frozen=True)
class DeployedRow:
    """A device's line: the version that it runs, since when, the version before, and what is wrong."""

    device: str
    version: str
    sha256: str
    since: str
    previous: str
    problems: Sequence[str]

    @property
    def state(self) -> str:
        """The problems, or that the files were verified on the device."""
        return "; ".join(self.problems) or ("verified" if self.sha256 != NOTHING else NOTHING)


def read_rows(targets: Sequence[DeviceTarget], parallel: int) -> list[DeployedRow]:
    """Ask the devices side by side, and return a row for each of them in the given order."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=parallel) as pool:
        return list(pool.map(_read_row, targets))


def _read_row(target: DeviceTarget) -> DeployedRow:
    try:
        expected = read_expected(target.name)
        answer = target.open().read_status()
    except EdgeproofError as error:
        return DeployedRow(target.name, "unknown", NOTHING, NOTHING, NOTHING, [" ".join(str(error).split())])
    problems = list_problems(answer, expected)
    previous = NOTHING if answer.previous is None else answer.previous.label
    if answer.current is None:
        return DeployedRow(target.name, "none", NOTHING, NOTHING, previous, problems)
    current = answer.current
    return DeployedRow(target.name, current.label, current.sha256[:SHA256_DIGITS], current.since, previous, problems)


def list_problems(answer: DeviceAnswer, expected: ExpectedVersion | None) -> list[str]:
    """List what is wrong with a device: damaged files, or another version than the one that was deployed last."""
    problems = list(answer.reasons)
    actual = None if answer.current is None else answer.current.sha256
    if expected is not None and actual != expected.sha256:
        runs = "nothing is deployed" if answer.current is None else f"{answer.current.label} runs"
        problems.append(f"{runs} instead of {expected.version}")
    return problems
