"""One device that trains clients, one at a time. All that it answers is checked before anything uses it."""

from __future__ import annotations

import itertools
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeproof.config import cards
from edgeproof.config.cards import Card
from edgeproof.core import regular_files
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.devices import device
from edgeproof.devices.clients import job_files, readiness
from edgeproof.devices.clients.job_template import JobTemplate
from edgeproof.federated.client import ClientJob, ClientResult
from edgeproof.federated.errors import MessageError, NotFiniteError
from edgeproof.federated.messages import check_update
from edgeproof.federated.settings import Settings

PREFIX = "clients-"
# Directories that a killed server left behind. A directory in use gets new entries with each client.
_REMOVE_OLD = f'find . -maxdepth 1 -name "{PREFIX}*" -mtime +7 -exec rm -rf {{}} +'
TIDY_S = 60.0
SHOWN_LINES = 2


@dataclass(frozen=True)
class Outcome:
    """A client's result. It is usable unless its training diverged, as far as the device can be believed."""

    result: ClientResult
    is_finite: bool


class ClientDevice:
    """A registered device. One thread calls its methods; only `tidy` may be called by another."""

    def __init__(self, name: str) -> None:
        """Read the card. Raises ConfigError for a device that can't train."""
        self.name = name
        self.card: Card = cards.read(name)
        if self.card.npu is not None:
            raise ConfigError(f"device '{name}' can't train clients: it is an estimated accelerator, and runs nothing.")
        # A card names an interpreter for each runtime, and training is none.
        self.python = device.choose_interpreter(self.card, "")
        self._transport = device.open_transport(name, self.card)
        self._directory = f"{PREFIX}{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)

    def prepare(self) -> str | None:
        """Check that the device can train, and return how it differs from this machine, if it does.

        Raises DeviceError with the command that installs what is missing.
        """
        try:
            self._transport.run(["sh", "-c", _REMOVE_OLD], TIDY_S)
            state = readiness.ask(self._transport, self.python)
        except DeviceError as error:
            raise DeviceError(f"device '{self.name}' can't train clients: {error}") from None
        if problems := state.list_problems():
            raise DeviceError(
                f"device '{self.name}' can't train clients: {'; '.join(problems)}. {state.suggest_cure(self.python)}"
            )
        return state.describe_difference()

    def tidy(self) -> None:
        """Remove everything that was sent to the device.

        What an unreachable device keeps is removed by `prepare` when it is a week old.
        """
        self._transport.remove(self._directory)

    def train(self, template: JobTemplate, job: ClientJob, settings: Settings) -> Outcome:
        """Train a client there. Raises DeviceError if the device fails, takes too long, or answers nonsense."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                return self._train(template, job, settings, Path(scratch))
        except DeviceError:
            # A new transport trusts nothing that was sent before.
            self._transport = device.open_transport(self.name, self.card)
            raise

    def _train(self, template: JobTemplate, job: ClientJob, settings: Settings, scratch: Path) -> Outcome:
        program = self._send(template.program, template.program.name)
        contents = (job_files.pack_split(job.task.train), template.constants)
        digests = [job_files.hash_bytes(content) for content in contents]
        for content, digest in zip(contents, digests, strict=True):
            (path := scratch / job_files.name_stored(digest)).write_bytes(content)
            self._send(path, path.name)
        spec = template.make_job_spec(job, settings, *digests)
        spec_digest = job_files.write_job(spec, job, scratch / "job")
        name = self._send(scratch / "job", f"{job.round_number}-{job.client}-{next(self._numbers)}")
        try:
            argv = [self.python, "-B", program, name, spec_digest]
            code, output = self._transport.run(argv, self.card.timeout_s)
            if code != 0:
                shown = " | ".join(output.strip().splitlines()[-SHOWN_LINES:]) or "no output"
                raise DeviceError(f"the training ended with exit code {code}: {shown:.500}")
            self._transport.pull(f"{name}/{job_files.RESULT}", scratch / job_files.RESULT)
        finally:
            self._transport.remove(name)
        return read_result(scratch / job_files.RESULT, template, job, settings)

    def _send(self, path: Path, name: str) -> str:
        """Copy a file or directory to the device and return its name there."""
        place = f"{self._directory}/{name}"
        self._transport.push(path, place)
        return place


def read_result(folder: Path, template: JobTemplate, job: ClientJob, settings: Settings) -> Outcome:
    """Return the result that a device left. Raises DeviceError for anything that the client's code does not write."""
    layout, is_top_k = template.layout, settings.compression.name == "top_k"
    message = read_limited(folder / job_files.UPDATE, template.max_update_bytes)
    try:
        check_update(message, settings.compression, len(job.task.train), layout)
    except NotFiniteError:
        return Outcome(ClientResult(message, None), is_finite=False)
    except MessageError as error:
        raise DeviceError(f"its update is unusable: {error}") from None
    if not is_top_k:
        return Outcome(ClientResult(message, None), is_finite=True)
    content = read_limited(folder / job_files.RESIDUAL, 4 * layout.parameter_count)
    residual = np.frombuffer(content, "<f4") if len(content) == 4 * layout.parameter_count else np.zeros(0)
    if len(residual) != layout.parameter_count or not np.isfinite(residual).all():
        raise DeviceError("its residual has another shape, or is not finite")
    return Outcome(ClientResult(message, residual.astype(np.float32)), is_finite=True)


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a file. Raises DeviceError if it is missing or longer."""
    try:
        if not regular_files.is_regular_file(path):
            raise DeviceError(f"it left no {path.name}")
        with path.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise DeviceError(f"its {path.name} can't be read: {error.strerror or error}") from None
    if len(content) > limit_bytes:
        raise DeviceError(f"its {path.name} has more than {limit_bytes:,} bytes")
    return content
