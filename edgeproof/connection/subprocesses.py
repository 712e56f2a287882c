"""Commands whose time and whose answer are bounded: what runs elsewhere may hang, or never stop talking."""

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

PRINTED_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class CommandTimeout(Exception):
    """The command was ended because its time was over."""


class Tail:
    """Keeps the last bytes of what it is given, however much that is."""

    def __init__(self, limit_bytes: int = PRINTED_BYTES) -> None:
        self._limit = limit_bytes
        self._kept = bytearray()

    def take(self, chunk: bytes) -> None:
        """Add a piece, and forget what is older than the limit."""
        self._kept += chunk
        del self._kept[: -self._limit]

    def content(self) -> bytes:
        """What was kept."""
        return bytes(self._kept)


def run(
    argv: Sequence[str],
    take: Callable[[bytes], None],
    *,
    timeout_s: float,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command as a process group of its own, hand what it prints (both streams) to `take`, return its exit code.

    The group is ended whole when it outlives `timeout_s` (OutOfTime), or when `take` raises. Raises OSError where the
    command can't be started. Without `stdin` the command reads an empty one.
    """
    until = time.monotonic() + timeout_s
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
            _read(process.stdout, take, until)
            return process.wait(max(0.0, until - time.monotonic()))
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandTimeout from None
            raise


def _read(stream: IO[bytes], take: Callable[[bytes], None], until: float) -> None:
    """Everything up to the stream's end, which comes when nobody holds it any more."""
    descriptor = stream.fileno()
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise CommandTimeout
        chunk = os.read(descriptor, _READ_BYTES)
        if not chunk:
            return
        take(chunk)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them had ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
