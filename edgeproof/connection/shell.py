"""A device with a POSIX shell that some program reaches (ssh, adb): files and commands by way of that shell alone.

Every word that reaches the shell is quoted. What comes back is bounded in size and checked; a command that did not tell
its exit code under the mark it was given is a lost link, never a result.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from edgeproof.connection import subprocesses, transfer
from edgeproof.core.errors import DeviceError, DeviceUnreachableError

# How long the link may need beyond a command's own time, and a file's transfer altogether.
LINK_S = 30.0
TRANSFER_S = 600.0
SHOWN_LINES = 3
_SIGNALLED = 128
_SIGNALS = 64

# The mark, the limit in s, the directory, then the command. Its process group, which the shell that the device starts
# for us leads, is ended whole by the device itself when the time is over, be the link there or not.
_RUN = """\
mark=$1 limit=$2
mkdir -p "$3" && cd "$3" || exit 1
shift 3
( sleep "$limit"; kill -KILL 0 ) </dev/null >/dev/null 2>&1 &
"$@" 2>&1
code=$?
trap '' TERM
kill -TERM 0
printf '\\n%s %s\\n' "$mark" "$code"
"""
# The directory and the name: unpack standard input beside it, check every file, put it in place at once.
_RECEIVE = """\
set -e
mkdir -p "$1"
cd "$1"
rm -rf ".part.$2"
mkdir ".part.$2"
trap 'rm -rf "../.part.$2"' EXIT
cd ".part.$2"
tar -xf -
sha256sum -c .sums >/dev/null
rm -rf "../$2"
mv "$2" "../$2"
"""
_HOLDS = 'cd "$1" 2>/dev/null && sha256sum -c - >/dev/null 2>&1'
_LIST = 'cd "$1" && find . -type f -exec sha256sum {} +'
_SEND = 'cd "$1" && tar -cf - .'


class ShellTransport:
    """What every transport through a shell has in common.

    `reach` is the program and its arguments; the line for the device's shell is added as one more. `directory` is
    where edgeproof works on the device.
    """

    def __init__(self, reach: Sequence[str], directory: str) -> None:
        self._reach = list(reach)
        self._directory = directory
        self._there: set[str] = set()

    def push(self, path: Path, name: str) -> None:
        """Bring a file or directory to the device under a relative name, unless the same is there already."""
        if name in self._there:
            return
        found = transfer.compute_checksums(path)
        folder, own = str(PurePosixPath(name).parent), PurePosixPath(name).name
        with tempfile.TemporaryFile() as stream:
            stream.write(transfer.format_checksums(found, own))
            stream.seek(0)
            holds = found and self._shell(_HOLDS, folder, stdin=stream)[0] == 0
        if not holds:
            with tempfile.TemporaryFile() as stream:
                transfer.pack(path, found, own, stream)
                code, said = self._shell(_RECEIVE, folder, own, stdin=stream)
            if code != 0:
                raise DeviceError(f"{name} did not arrive on the device: {_last(said)}")
        self._there.add(name)

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the device's working directory; returns its exit code and the end of what it printed.

        The command is ended with everything it started when it outlives `timeout_s` (DeviceError).
        """
        tail = subprocesses.Tail()
        code, trailer = self._call(argv, timeout_s, tail.take)
        return code, tail.content().removesuffix(trailer).decode(errors="replace")

    def pull(self, name: str, path: Path) -> None:
        """Bring a directory back from the device, every file as the device's own sha256 has it."""
        code, said = self._shell(_LIST, name)
        if code != 0:
            raise DeviceError(f"the device left no {name}: {_last(said)}")
        expected = transfer.parse_checksums(said)
        with tempfile.TemporaryFile() as stream:
            code, trailer = self._call(["sh", "-c", _SEND, "sh", name], TRANSFER_S, _limited(stream))
            if code != 0:
                raise DeviceError(f"the device could not send {name} (exit code {code})")
            stream.truncate(stream.tell() - len(trailer))
            stream.seek(0)
            path.mkdir(parents=True, exist_ok=True)
            transfer.unpack(stream, expected, path)

    def remove(self, name: str) -> None:
        """Delete a directory on the device; one that can't be reached any more keeps it."""
        self._there.discard(name)
        with contextlib.suppress(DeviceError):
            self._shell('rm -rf "$1"', name)

    def _shell(self, script: str, *words: str, stdin: IO[bytes] | None = None) -> tuple[int, str]:
        tail = subprocesses.Tail()
        code, trailer = self._call(["sh", "-c", script, "sh", *words], TRANSFER_S, tail.take, stdin)
        return code, tail.content().removesuffix(trailer).decode(errors="replace")

    def _call(
        self, argv: Sequence[str], timeout_s: float, take: Callable[[bytes], None], stdin: IO[bytes] | None = None
    ) -> tuple[int, bytes]:
        """Run a command on the device; returns its exit code, and the last bytes handed to `take`, which say it."""
        mark = secrets.token_hex(16)
        limit = str(math.ceil(timeout_s))
        line = "exec " + shlex.join(["sh", "-c", _RUN, "sh", mark, limit, self._directory, *argv])
        end = subprocesses.Tail(4096)

        def taken(chunk: bytes) -> None:
            end.take(chunk)
            take(chunk)

        began = time.monotonic()
        over = DeviceError(f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card")
        try:
            own = subprocesses.run([*self._reach, line], taken, timeout_s=timeout_s + LINK_S, stdin=stdin)
        except subprocesses.CommandTimeout:
            raise over from None
        except OSError as error:
            raise DeviceError(f"{self._reach[0]} can't be run: {error.strerror or error}") from None
        trailer = re.search(rb"\n%s (\d{1,3})\n\Z" % mark.encode(), end.content())
        if trailer is not None:
            return _code(int(trailer[1])), trailer[0]
        if time.monotonic() - began >= timeout_s:
            raise over
        said = _last(end.content().decode(errors="replace"))
        raise DeviceUnreachableError(f"the link to the device was lost ({self._reach[0]}, exit code {own}): {said}")


def _limited(stream: IO[bytes]) -> Callable[[bytes], None]:
    """Write to `stream`, and raise DeviceError when more comes than is ever taken."""

    def take(chunk: bytes) -> None:
        if stream.tell() + len(chunk) > transfer.MAX_BYTES:
            raise DeviceError(f"the device sends more than {transfer.MAX_BYTES:,} bytes")
        stream.write(chunk)

    return take


def _code(told: int) -> int:
    """A shell tells a signal as 128 and its number; everywhere else it is a negative number."""
    return _SIGNALLED - told if _SIGNALLED < told <= _SIGNALLED + _SIGNALS else told


def _last(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-SHOWN_LINES:] if line.strip()) or "it said nothing"
