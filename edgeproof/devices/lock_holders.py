"""The holder of a lock, as its lock file names it: process, host, since when, and what for."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BYTES = 10_000
MAX_PURPOSE_CHARACTERS = 200
MAX_PID = 2**31 - 1


class LockHolder(BaseModel):
    """The process that holds a lock, since when (ISO 8601), and what for. On disk, `purpose` is called 'why'."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)

    pid: int = Field(ge=1, le=MAX_PID)
    host: str
    since: str
    purpose: str = Field(alias="why")

    def __str__(self) -> str:
        text = f"process {self.pid} on {self.host} since {self.since} ({self.purpose})"
        return "".join(letter if letter.isprintable() else " " for letter in text)

    @property
    def is_running(self) -> bool:
        """False if the process has ended. A process on another host counts as running."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


@contextmanager
def name_holder(path: Path, purpose: str) -> Iterator[None]:
    """Name this process in a lock file whose lock it holds, while the block runs.

    The name only explains waits, so a failure to write it is ignored.
    """
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    holder = LockHolder(pid=os.getpid(), host=socket.gethostname(), since=since, why=purpose)
    _try_write(path, json.dumps(holder.model_dump(by_alias=True)).encode())
    try:
        yield
    finally:
        _try_write(path, b"")


def read_holder(path: Path) -> LockHolder | None:
    """Return the process that a lock file names, or None if the file is damaged or the process has ended."""
    try:
        with path.open("rb") as file:
            holder = LockHolder.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError):
        return None
    return holder if holder.is_running else None


def describe_command(argv: Sequence[str] | None = None) -> str:
    """Return this process's command as a user would type it, shortened."""
    words = list(sys.orig_argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words[0] = Path(words[0]).name
    elif words:
        words.insert(0, "python")
    text = shlex.join(words)
    return text if len(text) <= MAX_PURPOSE_CHARACTERS else f"{text[: MAX_PURPOSE_CHARACTERS - 1]}…"


def _try_write(path: Path, content: bytes) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)
