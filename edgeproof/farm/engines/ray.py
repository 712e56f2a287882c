"""The farm's jobs on the hosts of a Ray cluster: each board is a custom resource of its host, 'device:<name>'.

What a session reads travels as one file named by its sha256, and its records come back as bytes: the hosts share no
disk, and need the locked packages alone.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from edgeproof import entry
from edgeproof.config.params import BenchParams, Params
from edgeproof.core import plugins
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import ConfigError
from edgeproof.devices import imports, runner_zipapp
from edgeproof.farm import remote_job, session
from edgeproof.farm.engines import FARM, HISTORY, LOGS, PARAMS, Engine, JobExit, extract_error
from edgeproof.paths import ARTIFACTS, DATA
from edgeproof.study import git

POLL_INTERVAL_S = 2.0
HOST_TIMEOUT_S = 60.0
MAX_RECORD_BYTES = 1 << 30


def start(run_name: str, built: Path, params: Params, address: str | None) -> Engine:
    """Connect to the cluster at `address`, or make one of this host that has every device of the study."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # Only who has the token may use the cluster, and nobody else needs to: it lives as long as the run.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray  # reads its environment now
    except ModuleNotFoundError:
        raise ConfigError("the engine 'ray' needs the Python module 'ray'. Run 'make setup'.") from None
    resources = {_resource_name(item.device): 1.0 for item in params.bench.values()}
    here: dict[str, Any] = {"resources": resources, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(
            **(here if address is None else {"address": address}), log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why_not = str(error).strip().splitlines()[0]
        if address is None:
            raise ConfigError(f"Ray could not be started on this host: {why_not}") from None
        raise ConfigError(
            f"no Ray cluster answers at '{address}': {why_not} Start one with 'ray start --head'."
        ) from None
    return RayEngine(ray, run_name, built, params, address)


def _resource_name(device: str) -> str:
    return f"device:{device}"


class RayEngine:
    """Runs each job as a task that holds its device's resource."""

    def __init__(self, ray: ModuleType, run_name: str, built: Path, params: Params, address: str | None) -> None:
        self._ray, self._built, self._items, self._address = ray, built, params.bench, address
        self._task_name = params.task.name
        self._directory, self._history = FARM / run_name, HISTORY / run_name
        self._params = (self._directory / PARAMS).read_text(encoding="utf-8")
        ray.cloudpickle.register_pickle_by_value(remote_job)
        self._attempt = ray.remote(max_retries=0, num_cpus=0)(remote_job.run_job)
        self._running: set[Any] = set()
        self._lock = threading.Lock()
        self._ended = False

    def start(self, job: str, reason: str | None) -> JobExit:
        """Run a job on the host that has its device, and put the records that come back into the history."""
        item = self._items[job]
        resource = _resource_name(item.device)
        if not self._has(resource):
            return JobExit(session.TRY_AGAIN, self._nobody_has(resource))
        task = self._attempt.options(resources={resource: 1})
        with self._lock:
            if self._ended:
                return JobExit(entry.TERMINATED, "the farm was ended")
            reference = task.remote(pack_inputs(item, self._task_name, self._built), job, self._params, reason)
            self._running.add(reference)
        try:
            return self._result(job, resource, reference)
        finally:
            with self._lock:
                self._running.discard(reference)

    def end(self) -> None:
        """Kill what is running; a session's process ends with the worker that started it."""
        with self._lock:
            self._ended = True
            for reference in self._running:
                self._ray.cancel(reference, force=True)

    def _result(self, job: str, resource: str, reference: Any) -> JobExit:
        last_seen_s = time.monotonic()
        try:
            while not self._ray.wait([reference], timeout=POLL_INTERVAL_S)[0]:
                if self._has(resource):
                    last_seen_s = time.monotonic()
                elif time.monotonic() - last_seen_s > HOST_TIMEOUT_S:
                    self._ray.cancel(reference, force=True)
                    return JobExit(session.TRY_AGAIN, self._nobody_has(resource))
            code, said, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # a worker or its host died, or the task was ended
            return JobExit(session.TRY_AGAIN, extract_error(str(error).encode()))
        log = self._directory / LOGS / f"{job}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(said)
        if code == 0:
            self._put(job, files)
        return JobExit(code, extract_error(said))

    def _put(self, job: str, files: dict[str, bytes]) -> None:
        """Write what came back, all of it or nothing; a name that leads elsewhere, or too much of it, is refused."""
        if sum(map(len, files.values())) > MAX_RECORD_BYTES:
            raise ConfigError(f"the host that ran {job} sent more than {MAX_RECORD_BYTES} bytes of records.")
        with write_atomically(self._history / job) as out:
            for name, content in files.items():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise ConfigError(f"the host that ran {job} sent a file named {name!r}.")
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_bytes(content)

    def _has(self, resource: str) -> bool:
        return resource in self._ray.cluster_resources()

    def _nobody_has(self, resource: str) -> str:
        return (
            f"no host of the cluster has '{resource}'. On the host with the board: ray start "
            f"--address={self._address} --resources='{{\"{resource}\": 1}}'"
        )


def pack_inputs(item: BenchParams, task: str, built: Path) -> bytes:
    """The files that a session reads, as a zip whose bytes depend on them alone."""
    code = built / "edgeproof" if (built / "edgeproof").is_dir() else imports.PACKAGE
    places = [(code.parent, code), (built, built / "devices"), (built, built / DATA / task / "test")]
    places += [(built, built / ARTIFACTS / item.runtime / model) for model in item.artifacts]
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for root, place in places
        for path in place.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for number, outside in enumerate(plugins.list_external_roots()):
        for path in outside.rglob("*.py"):
            files[f"{remote_job.PLUGINS}/{number}/{path.relative_to(outside).as_posix()}"] = path.read_bytes()
    return runner_zipapp.zip_files(files | git.export_commit(built))
