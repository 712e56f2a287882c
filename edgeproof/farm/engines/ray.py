"""The Ray engine: jobs run on the hosts of a Ray cluster. Each board is a custom resource of its host, 'device:<name>'.

The files that a session reads are sent as one zip, and its records come back as bytes. So the hosts share no disk, and
need only the locked packages.
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
from edgeproof.core.errors import ConfigError, summarize_error
from edgeproof.devices import imports, runner_zipapp
from edgeproof.farm import remote_job
from edgeproof.farm.engines import FARM, HISTORY, LOGS, PARAMS, Engine, JobExit, extract_error
from edgeproof.farm.exit_codes import TRY_AGAIN
from edgeproof.paths import ARTIFACTS, DATA
from edgeproof.study import git

POLL_INTERVAL_S = 2.0
HOST_TIMEOUT_S = 60.0
MAX_RECORD_BYTES = 1 << 30


def start(run_name: str, built: Path, params: Params, address: str | None) -> Engine:
    """Connect to the cluster at `address`, or start a cluster on this host that has all devices of the study.

    Raises ConfigError when Ray is not installed, cannot start, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # The cluster lives as long as the run. The token keeps other users of this host out.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray  # it reads the environment when it is imported
    except ModuleNotFoundError:
        raise ConfigError("the engine 'ray' needs the Python module 'ray'. Run 'make setup' to install it.") from None
    resources = {_resource_name(item.device): 1.0 for item in params.bench.values()}
    local_cluster: dict[str, Any] = {
        "resources": resources,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            **(local_cluster if address is None else {"address": address}),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        problem = summarize_error(error)
        if address is None:
            raise ConfigError(f"Ray did not start on this host: {problem}") from None
        raise ConfigError(
            f"no Ray cluster answers at '{address}': {problem} Start one with 'ray start --head'."
        ) from None
    return RayEngine(ray, run_name, built, params, address)


def _resource_name(device: str) -> str:
    return f"device:{device}"


class RayEngine:
    """Runs each job as a Ray task that holds its device's resource."""

    def __init__(self, ray: ModuleType, run_name: str, built: Path, params: Params, address: str | None) -> None:
        self._ray, self._built, self._items, self._address = ray, built, params.bench, address
        self._task_name = params.task.name
        self._directory, self._history = FARM / run_name, HISTORY / run_name
        self._params = (self._directory / PARAMS).read_text(encoding="utf-8")
        ray.cloudpickle.register_pickle_by_value(remote_job)
        self._run_remotely = ray.remote(max_retries=0, num_cpus=0)(remote_job.run_job)
        self._running: set[Any] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run_job(self, job: str, reason: str | None) -> JobExit:
        """Run a job on the host that has its device, and write the returned records into the history."""
        item = self._items[job]
        resource = _resource_name(item.device)
        if not self._has(resource):
            return JobExit(TRY_AGAIN, self._describe_missing(resource))
        task = self._run_remotely.options(resources={resource: 1})
        with self._lock:
            if self._is_stopped:
                return JobExit(entry.TERMINATED, "the farm was stopped")
            reference = task.remote(pack_inputs(item, self._task_name, self._built), job, self._params, reason)
            self._running.add(reference)
        try:
            return self._wait_for_result(job, resource, reference)
        finally:
            with self._lock:
                self._running.discard(reference)

    def stop(self) -> None:
        """Kill all running tasks. A session's process ends with the worker that started it."""
        with self._lock:
            self._is_stopped = True
            for reference in self._running:
                self._ray.cancel(reference, force=True)

    def _wait_for_result(self, job: str, resource: str, reference: Any) -> JobExit:
        last_seen_s = time.monotonic()
        try:
            while not self._ray.wait([reference], timeout=POLL_INTERVAL_S)[0]:
                if self._has(resource):
                    last_seen_s = time.monotonic()
                elif time.monotonic() - last_seen_s > HOST_TIMEOUT_S:
                    self._ray.cancel(reference, force=True)
                    return JobExit(TRY_AGAIN, self._describe_missing(resource))
            code, output, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # a worker or its host died, or the task was ended
            return JobExit(TRY_AGAIN, extract_error(str(error).encode()))
        log = self._directory / LOGS / f"{job}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(output)
        if code == 0:
            self._write_records(job, files)
        return JobExit(code, extract_error(output))

    def _write_records(self, job: str, files: dict[str, bytes]) -> None:
        """Write all returned records or none. Raises ConfigError for too many bytes or a path outside the directory."""
        if sum(map(len, files.values())) > MAX_RECORD_BYTES:
            raise ConfigError(
                f"the host that ran {job} sent more than {MAX_RECORD_BYTES} bytes of records. Check that host."
            )
        with write_atomically(self._history / job) as out:
            for name, content in files.items():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise ConfigError(f"the host that ran {job} sent a file named {name!r}.")
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_bytes(content)

    def _has(self, resource: str) -> bool:
        return resource in self._ray.cluster_resources()

    def _describe_missing(self, resource: str) -> str:
        return (
            f"no host of the cluster has '{resource}'. On the host with the board: ray start "
            f"--address={self._address} --resources='{{\"{resource}\": 1}}'"
        )


def pack_inputs(item: BenchParams, task: str, built: Path) -> bytes:
    """Return a zip of the files that a session reads. Equal files give equal bytes."""
    code = built / "edgeproof" if (built / "edgeproof").is_dir() else imports.PACKAGE
    roots = [(code.parent, code), (built, built / "devices"), (built, built / DATA / task / "test")]
    roots += [(built, built / ARTIFACTS / item.runtime / model) for model in item.artifacts]
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for root, directory in roots
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for number, outside in enumerate(plugins.list_external_roots()):
        for path in outside.rglob("*.py"):
            files[f"{remote_job.PLUGINS}/{number}/{path.relative_to(outside).as_posix()}"] = path.read_bytes()
    return runner_zipapp.zip_files(files | git.export_commit(built))
