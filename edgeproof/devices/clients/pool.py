"""Devices that train the clients of a federation, each one client at a time.

Devices take the clients of a round in turn. A client whose device fails is trained on another one, so failures do not
change the global model. An update that is not finite counts as the client's own, as after diverged training, only if a
second training gives the same one.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import nn

from edgeproof.core.errors import DeviceError
from edgeproof.core.plain_text import escape_controls
from edgeproof.devices import locks
from edgeproof.devices.clients.client_device import ClientDevice, Outcome
from edgeproof.devices.clients.job_template import JobTemplate, make_job_template
from edgeproof.federated.client import ClientJob, ClientResult
from edgeproof.federated.settings import Settings
from edgeproof.federated.workers import DEVICES, RunClients

Note = Callable[[str], None]


@contextmanager
def open_devices(names: Sequence[str], note: Note) -> Iterator[RunClients]:
    """Yield the function that trains clients on the devices of these names, and remove what was sent there afterwards.

    Nothing else measures on these devices meanwhile. Raises ConfigError for a wrong card, and DeviceError for a device
    that can't be reached or lacks a package.
    """
    devices = [ClientDevice(name) for name in names]
    with ExitStack() as stack:
        for each in sorted(devices, key=lambda each: each.name):
            # This machine is not locked: a build, such as this training, holds a lock of its own.
            if each.card.transport != "local" and not each.card.emulated:
                stack.enter_context(locks.hold_for_measuring(each.name, here=False))
        pool = Pool(devices, note, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(pool.close)
        pool.prepare()
        yield pool.run_clients


@dataclass(frozen=True)
class Assignment:
    """A client's job with everything that a device needs for it."""

    template: JobTemplate
    job: ClientJob
    settings: Settings


class Pool:
    """The devices, with a thread for each."""

    def __init__(self, devices: Sequence[ClientDevice], note: Note, directory: Path) -> None:
        self._devices = devices
        self._note = note
        self._directory = directory
        self._threads = {each: ThreadPoolExecutor(1, thread_name_prefix=each.name) for each in devices}

    def prepare(self) -> None:
        """Check all devices at once. Raises DeviceError for the first one that can't train."""
        checks = [(each, self._threads[each].submit(each.prepare)) for each in self._devices]
        for each, check in checks:
            if difference := check.result():
                self._note(
                    escape_controls(
                        f"note: device '{each.name}' is {difference}: the model may differ in its last bits"
                    )
                )

    def close(self) -> None:
        """Give up clients that wait, and remove what was sent to the devices."""
        for executor in self._threads.values():
            executor.shutdown(wait=False, cancel_futures=True)
        for each in self._devices:
            each.tidy()

    def run_clients(
        self, module: nn.Module, jobs: Iterator[ClientJob], settings: Settings
    ) -> Iterator[ClientResult | None]:
        """Train clients on the devices and yield their answers in the order of the jobs.

        Raises DeviceError for a client that no device could train.
        """
        failed: set[ClientDevice] = set()
        template: JobTemplate | None = None
        waiting: deque[tuple[Assignment, ClientDevice, Future[Outcome]]] = deque()
        places = enumerate(jobs)
        while True:
            for number, job in islice(places, 2 * len(self._devices) - len(waiting)):
                template = template or make_job_template(module, job.task, self._directory)
                work = Assignment(template, job, settings)
                working = [each for each in self._devices if each not in failed] or self._devices
                chosen = working[number % len(working)]
                waiting.append((work, chosen, self._submit(chosen, work)))
            if not waiting:
                return
            yield self._settle(*waiting.popleft(), failed)

    def _submit(self, chosen: ClientDevice, work: Assignment) -> Future[Outcome]:
        return self._threads[chosen].submit(chosen.train, work.template, work.job, work.settings)

    def _settle(
        self, work: Assignment, first: ClientDevice, outcome: Future[Outcome], failed: set[ClientDevice]
    ) -> ClientResult:
        """Return a client's result. If the first device fails, ask the others, those in `failed` last, then it again.

        Devices that fail are added to `failed`. Raises DeviceError if all of them do.
        """
        client = f"client {work.job.client} in round {work.job.round_number}"
        others = sorted((each for each in self._devices if each is not first), key=lambda each: each in failed)
        reasons: list[str] = []
        unusable: set[bytes] = set()
        for chosen in (first, *others, first):
            if reasons:
                self._note(f"{reasons[-1]}. Training {client} again on {chosen.name}.")
            try:
                result = (outcome if not reasons else self._submit(chosen, work)).result()
            except DeviceError as error:
                failed.add(chosen)
                reason = str(error)
            else:
                if result.is_finite or result.result.message in unusable:
                    return result.result
                unusable.add(result.result.message)
                reason = "its update is not finite"
            reasons.append(escape_controls(f"{chosen.name}: {reason}"))
        raise DeviceError(
            f"no device could train {client}. {'; '.join(reasons)}. Repair a device, or change {DEVICES}, then run the "
            "same command again: it goes on with this round."
        )
