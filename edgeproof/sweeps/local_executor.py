"""Running points on this machine: each in a process group of its own, so that whatever becomes of one stays with it."""

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
from edgeproof.sweeps.store import Store

WORKER = "edgeproof.sweeps.worker"
TICK_S = 0.05
LAST_WORDS_S = 10.0
Phase = Literal["build", "all"]
# Starts a point's process; another one stands in for it in tests.
Starter = Callable[[Store, str, Phase], "subprocess.Popen[bytes]"]


def start(store: Store, digest: str, phase: Phase) -> subprocess.Popen[bytes]:
    """Start a point's process, with what it prints in the point's log."""
    command = [sys.executable, "-m", WORKER, store.name, digest, *([phase] if phase == "build" else [])]
    with store.begin_log(digest) as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=entry.environment(),
        )


@dataclass(frozen=True)
class Job:
    """A point's process while it runs."""

    digest: str
    process: subprocess.Popen[bytes]

    def ended(self) -> bool:
        """Whether the process ended. Its number is not given back before `clear`, so its group can still be named."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def clear(self, store: Store, phase: Phase) -> None:
        """End whatever the process left running, and see that a point without a result has its reason."""
        self._send(signal.SIGKILL)
        code = self.process.wait()
        if code != 0 and store.failure(self.digest) is None:
            store.fail(self.digest, _ending(store, self.digest, code))

    def stop(self) -> None:
        """Ask the whole group to end, then make it."""
        self._send(signal.SIGTERM)
        patience = time.monotonic() + LAST_WORDS_S
        while not self.ended() and time.monotonic() < patience:
            time.sleep(TICK_S)
        self._send(signal.SIGKILL)
        self.process.wait()

    def _send(self, sent: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, sent)


def run_one(store: Store, digest: str, starter: Starter = start) -> None:
    """Run one point to its end, be it a result or a failure."""
    run_all(store, [digest], workers=1, phase="all", starter=starter)


def run_all(
    store: Store,
    digests: Sequence[str],
    *,
    workers: int,
    phase: Phase,
    choose: Callable[[Sequence[str], Sequence[str]], str] = lambda waiting, running: waiting[0],
    note: Callable[[str, str, Sequence[str]], None] = lambda digest, event, running: None,
    starter: Starter = start,
) -> None:
    """Run a phase of every point, `workers` side by side.

    Args:
        choose: which of those waiting is next, given those running.
        note: told a point, 'begins' or 'ended', and all that run.
        starter: starts a point's process.
    """
    waiting, running = list(digests), list[Job]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                digest = choose(waiting, [job.digest for job in running])
                waiting.remove(digest)
                store.begin(digest)
                running.append(Job(digest, starter(store, digest, phase)))
                note(digest, "begins", [job.digest for job in running])
            for job in [job for job in running if job.ended()]:
                job.clear(store, phase)
                running.remove(job)
                note(job.digest, "ended", [other.digest for other in running])
            time.sleep(TICK_S)
    finally:
        for job in running:
            job.stop()


def _ending(store: Store, digest: str, code: int) -> str:
    lines = store.last_attempt(digest)
    last = f": {lines[-1]}" if lines else ""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}{last}"
    return f"its process ended with {code}{last}"
