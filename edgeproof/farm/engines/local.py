"""The farm's jobs as process groups of this host, which reaches every device itself."""

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
    """An engine that needs nothing but this host."""
    if address is not None:
        raise ConfigError(
            "the engine 'local' is this host and has no address. Leave --address out, or add --engine ray."
        )
    return LocalEngine(run_name, built)


# The module that runs one session; a program that plays boards may put another in its place.
SESSION_MODULE = "edgeproof.farm.session"


class LocalEngine:
    """Starts each job as a process group of its own, and ends them all when the farm ends."""

    def __init__(self, run_name: str, built: Path) -> None:
        self._directory = (FARM / run_name).resolve()
        self._history = (HISTORY / run_name).resolve()
        self._built = built
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def start(self, job: str, reason: str | None) -> JobExit:
        """Run a job to its end; what it says goes to its log."""
        log = self._directory / LOGS / f"{job}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", SESSION_MODULE, job, str(self._directory / PARAMS)]
        command += [str(self._history / job), *([] if reason is None else [reason])]
        with log.open("ab") as file:
            began = file.tell()
            with self._lock:
                if self._ended:
                    return JobExit(entry.TERMINATED, "the farm was ended")
                process = subprocess.Popen(
                    command, cwd=self._built, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        with log.open("rb") as file:
            file.seek(began)
            return JobExit(code, extract_error(file.read()))

    def end(self) -> None:
        """Have every job's process group end, so that what they started ends too."""
        with self._lock:
            self._ended = True
            for process in self._running:
                os.killpg(process.pid, signal.SIGTERM)
