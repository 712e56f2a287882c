"""The local engine: jobs are process groups of this host, which reaches every device itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from edgeproof import entry
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from edgeproof.farm.engines import FARM, HISTORY, LOGS, PARAMS, Engine, JobExit, extract_error


def start(run_name: str, built: Path, params: Params, address: str | None) -> Engine:
    """Start the engine. Raises ConfigError for any address, since it is always this host."""
    if address is not None:
        raise ConfigError(
            "the engine 'local' runs on this host and takes no address. Omit --address, or add --engine ray."
        )
    return LocalEngine(run_name, built)


# The module that runs one session. A program that simulates boards may replace it.
SESSION_MODULE = "edgeproof.farm.session"


class LocalEngine:
    """Runs each job as a process group of its own, and ends all of them with the farm."""

    def __init__(self, run_name: str, built: Path) -> None:
        self._directory = (FARM / run_name).resolve()
        self._history = (HISTORY / run_name).resolve()
        self._built = built
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run_job(self, job: str, reason: str | None) -> JobExit:
        """Run a job to its end. Its output is appended to its log."""
        log = self._directory / LOGS / f"{job}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", SESSION_MODULE, job, str(self._directory / PARAMS)]
        command += [str(self._history / job), *([] if reason is None else [reason])]
        with log.open("ab") as file:
            log_start = file.tell()
            with self._lock:
                if self._is_stopped:
                    return JobExit(entry.TERMINATED, "the farm was stopped")
                process = subprocess.Popen(
                    command, cwd=self._built, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        with log.open("rb") as file:
            file.seek(log_start)
            return JobExit(code, extract_error(file.read()))

    def stop(self) -> None:
        """Send SIGTERM to every job's process group, which includes all that the job started."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                os.killpg(process.pid, signal.SIGTERM)
