"""Send a job with its files and its runner to the device, run it there, and bring the checked result back."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.config.cards import Card
from edgeproof.core import directories, processes
from edgeproof.core import job as core_job
from edgeproof.core.directories import content_sha256
from edgeproof.core.errors import DeviceError, DeviceRefusedError, DeviceUnreachableError
from edgeproof.core.job import MLPERF_DURATION_MS, NULL_RUNTIME, RunnerJob
from edgeproof.devices import device, runner_result, runner_zipapp
from edgeproof.paths import WORK

# The files of a runner's result. Whatever else a device sends stays out of the record.
RESULT_FILES = re.compile(
    r"(result\.json|latencies\.npz|telemetry\.csv|user\.conf|audit\.config|mlperf_log_\w+\.(txt|json))"
)
SHOWN_LINES = 5

Array = np.ndarray[Any, Any]


class Dispatcher:
    """The connection of one session to its device.

    Attributes:
        transport: the open transport to the device.
        python: the interpreter that runs the session's runtime on the device.
        task: the task whose postprocess() runs on the device, or None.
        preprocessing: the task whose raw inputs are preprocessed on the device, or None.
    """

    def __init__(
        self, name: str, card: Card, runtime: str, task: str | None = None, preprocessing: str | None = None
    ) -> None:
        self.transport = device.open_transport(name, card)
        self.python = device.choose_interpreter(card, runtime)
        self.task = task
        self.preprocessing = preprocessing
        self._card = card
        # The null runtime measures the harness alone, without the task's code.
        tasks = {NULL_RUNTIME: None} | ({} if runtime == NULL_RUNTIME else {runtime: task or preprocessing})
        self._runners = {key: runner_zipapp.pack(key, WORK / "runners", tasks[key]) for key in tasks}

    @property
    def runner_names(self) -> list[str]:
        """The file names of the session's runners, sorted."""
        return sorted(path.name for path in self._runners.values())

    def get_runner_sha256(self, runtime: str) -> str:
        """Return the sha256 that names a runtime's runner."""
        return self._runners[runtime].stem.removeprefix("runner-")

    def push_samples(self, samples: Sequence[Path]) -> tuple[str, ...]:
        """Send the files of samples that the device lacks; return their paths on the device."""
        names = tuple(f"store/{path.name}" for path in samples)
        for path, name in zip(samples, names, strict=True):
            self.transport.push(path, name)
        return names

    def push_artifact(self, artifact: Path, meta: Mapping[str, Any]) -> str:
        """Send an artifact unless the device has it; return its path on the device."""
        name = f"store/{content_sha256(dict(meta))}-{meta['scheme']}"
        self.transport.push(artifact, name)
        return name

    def run(self, job: RunnerJob, out: Path) -> dict[str, Any]:
        """Run a job in a process of its own and copy its files into `out`; return the checked result.json.

        A failure of the runner is a result with the status 'error'. Raises DeviceUnreachableError for a lost link, and
        DeviceRefusedError for a device that refuses the connection.
        """
        with self.push_job(job) as name:
            argv = [self.python, "-B", self._runners[job.runtime].name, name, f"{name}/result"]
            try:
                code, output = self.transport.run(argv, self._compute_timeout_s(job))
            except (DeviceRefusedError, DeviceUnreachableError):
                raise
            except DeviceError as error:
                return {"status": "error", "error": str(error)}
            try:
                return self._pull_result(name, out)
            except (DeviceRefusedError, DeviceUnreachableError):
                raise
            except DeviceError as error:
                reason = _describe_exit(code, output) if code != 0 else f"the runner ended, but {error}"
                return {"status": "error", "error": reason}

    @contextmanager
    def push_job(self, job: RunnerJob) -> Iterator[str]:
        """Send a job and its runner, yield the name of the job's directory, and delete the directory afterwards."""
        runner = self._runners[job.runtime]
        self.transport.push(runner, runner.name)
        # No two jobs share a directory, so that a lost runner cannot write into another job's result.
        name = f"jobs/{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory() as scratch:
            directories.write_json(Path(scratch, core_job.FILE), job.to_json())
            self.transport.push(Path(scratch), name)
        try:
            yield name
        finally:
            self.transport.remove(name)

    def get_runner_name(self, runtime: str) -> str:
        """Return the file name of a runtime's runner on the device."""
        return self._runners[runtime].name

    def _pull_result(self, name: str, out: Path) -> dict[str, Any]:
        """Copy the runner's files into `out` and return result.json. Raises DeviceError for an unreadable one."""
        with tempfile.TemporaryDirectory() as scratch:
            self.transport.pull(f"{name}/result", Path(scratch))
            try:
                content = json.loads(Path(scratch, "result.json").read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise DeviceError(f"its result.json can't be read: {type(error).__name__}") from None
            for path in sorted(Path(scratch).iterdir()):
                if path.is_file() and RESULT_FILES.fullmatch(path.name) and path.name != "result.json":
                    shutil.copyfile(path, out / path.name)
        return runner_result.validate(content)

    def _compute_timeout_s(self, job: RunnerJob) -> float:
        """Return the card's limit plus twice the least duration of the job."""
        least_ms = job.settings.get("min_duration_ms") or MLPERF_DURATION_MS
        return self._card.timeout_s + 2 * least_ms / 1000


def _describe_exit(code: int, output: str) -> str:
    """Describe how a runner without a result ended, with the end of its output."""
    tail = " | ".join(output.splitlines()[-SHOWN_LINES:])
    if code < 0:
        name = processes.name_signal(-code)
        memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"the runner was ended by {name}{memory}: {tail}"
    return f"the runner ended with code {code}: {tail}"
