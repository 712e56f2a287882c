"""Run commands with limited time and limited output, because a program may hang or print forever."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

MAX_TAIL_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class CommandTimeout(Exception):
    """A command was ended because it ran longer than its time limit."""


class Tail:
    """The last bytes of an output of any length."""

    def __init__(self, limit_bytes: int = MAX_TAIL_BYTES) -> None:
        self._limit = limit_bytes
        self._content = bytearray()

    def take(self, chunk: bytes) -> None:
        """Append a chunk and drop the oldest bytes beyond the limit."""
        self._content += chunk
        del self._content[: -self._limit]

    def get_content(self) -> bytes:
        """Return the last bytes."""
        return bytes(self._content)


def run(
    argv: Sequence[str],
    take: Callable[[bytes], None],
    *,
    timeout_s: float,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command as a process group of its own, hand its output (both streams) to `take`, return its exit code.

    The whole group is killed when it runs longer than `timeout_s` or when `take` raises. Without `stdin` the command's
    standard input is empty. Raises CommandTimeout, or OSError if the command can't be started.
    """
    deadline_s = time.monotonic() + timeout_s
    with subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            _read(process.stdout, take, deadline_s)
            return process.wait(max(0.0, deadline_s - time.monotonic()))
        except BaseException as error:
            _kill_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandTimeout from None
            raise


def _read(stream: IO[bytes], take: Callable[[bytes], None], deadline_s: float) -> None:
    """Read up to the stream's end, which comes when no process holds the stream any more."""
    descriptor = stream.fileno()
    while True:
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0 or not select.select([descriptor], [], [], remaining_s)[0]:
            raise CommandTimeout
        chunk = os.read(descriptor, _READ_BYTES)
        if not chunk:
            return
        take(chunk)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all processes of the group had ended already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
