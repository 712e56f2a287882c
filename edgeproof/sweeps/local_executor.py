"""Run points on this machine, each in a process group of its own, so that a crash affects one point only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from edgeproof import entry
from edgeproof.core import processes
from edgeproof.sweeps.outcomes import PointFailure
from edgeproof.sweeps.store import SweepStore

WORKER_MODULE = "edgeproof.sweeps.worker"
POLL_INTERVAL_S = 0.05
# A process that is asked to stop has this long before it is killed.
GRACE_PERIOD_S = 10.0
# What a point's process does: only its models, also its artifacts, or everything.
PointPhase = Literal["train", "build", "all"]
PointEvent = Literal["started", "ended"]
# Starts a point's process. Tests replace it.
PointStarter = Callable[[SweepStore, str, PointPhase], "subprocess.Popen[bytes]"]


def start_point(store: SweepStore, digest: str, phase: PointPhase) -> subprocess.Popen[bytes]:
    """Start a point's process. Its output goes to the point's log."""
    command = [sys.executable, "-m", WORKER_MODULE, store.name, digest, *([] if phase == "all" else [phase])]
    with store.open_log(digest) as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=entry.build_environment(),
        )


@dataclass(frozen=True)
class PointProcess:
    """A point's running process."""

    digest: str
    process: subprocess.Popen[bytes]

    def has_ended(self) -> bool:
        """Return whether the process has ended. It stays a zombie until `finish`, so its group id is not reused."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def finish(self, store: SweepStore) -> None:
        """Kill what the process left running. If the point has neither a result nor a reason, store its exit code."""
        self._send(signal.SIGKILL)
        code = self.process.wait()
        if code != 0 and store.read_failure(self.digest) is None:
            store.write_failure(self.digest, PointFailure(_describe_exit(store, self.digest, code)))

    def stop(self) -> None:
        """Ask the whole process group to end, and kill it after a grace period."""
        self._send(signal.SIGTERM)
        deadline_s = time.monotonic() + GRACE_PERIOD_S
        while not self.has_ended() and time.monotonic() < deadline_s:
            time.sleep(POLL_INTERVAL_S)
        self._send(signal.SIGKILL)
        self.process.wait()

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def run_point(store: SweepStore, digest: str, starter: PointStarter = start_point) -> None:
    """Run one point until it has a result or a failure."""
    run_points(store, [digest], workers=1, phase="all", starter=starter)


def run_points(
    store: SweepStore,
    digests: Sequence[str],
    *,
    workers: int,
    phase: PointPhase,
    choose: Callable[[Sequence[str], Sequence[str]], str] = lambda waiting, running: waiting[0],
    note: Callable[[str, PointEvent, Sequence[str]], None] = lambda digest, event, running: None,
    starter: PointStarter = start_point,
) -> None:
    """Run a phase of every point, up to `workers` in parallel.

    Args:
        choose: returns the next point, given the waiting and the running ones.
        note: called with a point, its event, and the points that run after the event.
        starter: starts a point's process.
    """
    waiting, running = list(digests), list[PointProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                digest = choose(waiting, [process.digest for process in running])
                waiting.remove(digest)
                store.clear_failure(digest)
                running.append(PointProcess(digest, starter(store, digest, phase)))
                note(digest, "started", [process.digest for process in running])
            for process in [process for process in running if process.has_ended()]:
                process.finish(store)
                running.remove(process)
                note(process.digest, "ended", [other.digest for other in running])
            time.sleep(POLL_INTERVAL_S)
    finally:
        for process in running:
            process.stop()


def _describe_exit(store: SweepStore, digest: str, code: int) -> str:
    lines = store.read_last_attempt(digest)
    last_line = f": {lines[-1]}" if lines else ""
    if code < 0:
        return f"its process was killed by {processes.name_signal(-code)}{last_line}"
    return f"its process ended with exit code {code}{last_line}"
