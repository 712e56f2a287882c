"""A roll-out: one change on many devices, wave by wave, with a journal from which the same command continues.

A device itself knows what runs there. Changes ask it first, so a device that is done is not changed twice, also if its
answer was lost. The journal adds which devices were done, for the case that they cannot be reached any more.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeproof.core.errors import DeviceUnreachableError, EdgeproofError
from edgeproof.deployment import waves
from edgeproof.deployment.expected_versions import read_expected
from edgeproof.farm import journal
from edgeproof.farm.journal import Journal
from edgeproof.paths import WORK

ROLLOUTS = WORK / "deployments"
JOURNAL = "journal.jsonl"
MAX_REASON_CHARACTERS = 500

DeviceOutcome = Literal["done", "failed", "not started"]


@dataclass(frozen=True)
class Rollout:
    """One change on many devices.

    Attributes:
        title: names the change, such as the version. Its journal has this name.
        devices: the devices, in the order of the waves.
        change: changes one device unless it is done, and returns what was done. Raises EdgeproofError if it fails.
        is_current: returns True if no later change of a device is known here.
        wave_size: number of devices in a wave.
        parallel: number of devices that are changed at once.
        report: prints a line.
    """

    title: str
    devices: Sequence[str]
    change: Callable[[str], str]
    is_current: Callable[[str], bool]
    wave_size: int
    parallel: int
    report: Callable[[str], None] = print
    outcomes: dict[str, DeviceOutcome] = field(default_factory=dict)

    def run(self) -> Mapping[str, DeviceOutcome]:
        """Change the devices that are not done, and return each device's outcome.

        A wave with a failure is the last one: its other devices are finished, and later waves are not started.
        """
        path = locate_journal(self.title)
        damaged: list[str] = []
        events = journal.latest_by_job(journal.read(path, damaged))
        for line in damaged:
            self.report(f"skipped: {line}")
        done = {name for name, event in events.items() if event.kind == "done" and self.is_current(name)}
        log = Journal(path)
        self.outcomes.update(dict.fromkeys(self.devices, "not started"))
        groups = waves.split(self.devices, self.wave_size)
        for number, wave in enumerate(groups, 1):
            if len(groups) > 1:
                self.report(f"wave {number} of {len(groups)}: {', '.join(wave)}")
            self._run_wave(wave, done, log)
            if any(self.outcomes[name] == "failed" for name in wave):
                break
        return self.outcomes

    def _run_wave(self, names: Sequence[str], done: Collection[str], log: Journal) -> None:
        """Change the devices of one wave side by side. An interruption waits for the devices that have begun."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=self.parallel) as pool:
            futures = [pool.submit(self._run_device, name, name in done, log) for name in names]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _run_device(self, name: str, was_done: bool, log: Journal) -> None:
        if not was_done:
            log.append("started", name, name, 1)
        try:
            line = self.change(name)
        except EdgeproofError as error:
            line = " ".join(str(error).split())
            if not (was_done and isinstance(error, DeviceUnreachableError)):
                log.append("failed", name, name, 1, line[:MAX_REASON_CHARACTERS])
                self.outcomes[name] = "failed"
                self.report(f"{name}: failed: {line}")
                return
            line = f"done before; it cannot be reached now: {line}"
        if not was_done:
            log.append("done", name, name, 1)
        self.outcomes[name] = "done"
        self.report(f"{name}: {line}")


def locate_journal(title: str) -> Path:
    """Return the path of a roll-out's journal."""
    digest = hashlib.sha256(title.encode()).hexdigest()[:16]
    return ROLLOUTS / digest / JOURNAL


def runs_as_expected(name: str, sha256: str) -> bool:
    """Return True if this version is the last one that was deployed to a device from this project."""
    try:
        expected = read_expected(name)
    except EdgeproofError:
        return False
    return expected is not None and expected.sha256 == sha256


def is_rolled_back(name: str) -> bool:
    """Return True if the last change of a device from this project was a rollback."""
    try:
        expected = read_expected(name)
    except EdgeproofError:
        return False
    return expected is not None and expected.origin == "rollback"
