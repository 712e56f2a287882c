"""Transport of files and commands to a device through its POSIX shell, which a program such as ssh or adb reaches.

Every word that reaches the shell is quoted. Everything that comes back is limited in size and checked. Each command
prints its exit code after a random mark. Output without the mark means that the link was lost, so it is never a result.
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
from edgeproof.core.errors import DeviceError, DeviceRefusedError, DeviceUnreachableError

# The time allowed for the link in addition to a command's own time, and for a whole transfer.
LINK_S = 30.0
TRANSFER_S = 600.0
SHOWN_LINES = 3
# A shell reports a command that was ended by a signal with the exit code 128 plus the signal's number.
_SIGNAL_BASE = 128
_MAX_SIGNAL = 64

# Arguments: the mark, the time limit in s, the directory, then the command. When the time is over, the device itself
# ends the whole process group of its shell, even if the link is lost. 'kill -TERM 0' ends what is still running.
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
# Arguments: the directory and the name. Unpack standard input beside it, check every file, rename it into place.
# The partial directory has the shell's process id, so that two transfers never share one. Leftovers are removed after
# a day.
_RECEIVE = """\
set -e
mkdir -p "$1"
cd "$1"
find . -maxdepth 1 -name ".part.*" -mtime +0 -exec rm -rf {} + 2>/dev/null || true
part=.part.$$.$2
rm -rf "$part"
mkdir "$part"
trap 'rm -rf "../$part"' EXIT
cd "$part"
tar -xf -
sha256sum -c .sums >/dev/null
rm -rf "../$2"
mv "$2" "../$2"
"""
_HOLDS = 'cd "$1" 2>/dev/null && sha256sum -c - >/dev/null 2>&1'
_LIST = 'cd "$1" && find . -type f -exec sha256sum {} +'
_SEND = 'cd "$1" && tar -cf - .'


class ShellTransport:
    """A transport to a device through its shell.

    `command` is the program and its arguments. The line for the device's shell is added as its last argument.
    `directory` is edgeproof's working directory on the device.
    """

    def __init__(self, command: Sequence[str], directory: str) -> None:
        self._command = list(command)
        self._directory = directory
        self._sent: set[str] = set()

    def push(self, path: Path, name: str) -> None:
        """Copy a file or directory to the device under a relative name, unless the same content is there already."""
        if name in self._sent:
            return
        checksums = transfer.compute_checksums(path)
        folder, own = str(PurePosixPath(name).parent), PurePosixPath(name).name
        with tempfile.TemporaryFile() as stream:
            stream.write(transfer.format_checksums(checksums, own))
            stream.seek(0)
            is_present = checksums and self._shell(_HOLDS, folder, stdin=stream)[0] == 0
        if not is_present:
            with tempfile.TemporaryFile() as stream:
                transfer.pack(path, checksums, own, stream)
                code, output = self._shell(_RECEIVE, folder, own, stdin=stream)
            if code != 0:
                raise DeviceError(f"{name} did not arrive on the device: {_shorten(output)}")
        self._sent.add(name)

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the device's working directory; return its exit code and the end of its output.

        A command that runs longer than `timeout_s` is ended with everything that it started. Raises DeviceError then,
        DeviceUnreachableError when the link is lost, and DeviceRefusedError when the device refuses the connection.
        """
        tail = subprocesses.Tail()
        code, trailer = self._call(argv, timeout_s, tail.take)
        return code, tail.get_content().removesuffix(trailer).decode(errors="replace")

    def pull(self, name: str, path: Path) -> None:
        """Copy a directory from the device and check every file against the device's own sha256."""
        code, output = self._shell(_LIST, name)
        if code != 0:
            raise DeviceError(f"the device left no {name}: {_shorten(output)}")
        expected = transfer.parse_checksums(output)
        with tempfile.TemporaryFile() as stream:
            code, trailer = self._call(["sh", "-c", _SEND, "sh", name], TRANSFER_S, _write_limited(stream))
            if code != 0:
                raise DeviceError(f"the device could not send {name} (exit code {code})")
            stream.truncate(stream.tell() - len(trailer))
            stream.seek(0)
            path.mkdir(parents=True, exist_ok=True)
            transfer.unpack(stream, expected, path)

    def remove(self, name: str) -> None:
        """Delete a directory on the device. An unreachable device keeps it."""
        self._sent.discard(name)
        with contextlib.suppress(DeviceError):
            self._shell('rm -rf "$1"', name)

    def explain_refusal(self, exit_code: int, output: str) -> str | None:
        """Return why the device refused the connection, or None if the link was lost.

        `output` is the end of what the program printed that should have reached the device. Transports override
        this method if they can interpret the program's messages.
        """
        return None

    def _shell(self, script: str, *words: str, stdin: IO[bytes] | None = None) -> tuple[int, str]:
        tail = subprocesses.Tail()
        code, trailer = self._call(["sh", "-c", script, "sh", *words], TRANSFER_S, tail.take, stdin)
        return code, tail.get_content().removesuffix(trailer).decode(errors="replace")

    def _call(
        self, argv: Sequence[str], timeout_s: float, take: Callable[[bytes], None], stdin: IO[bytes] | None = None
    ) -> tuple[int, bytes]:
        """Run a command on the device and hand its output to `take`.

        Returns the exit code and the trailer: the last bytes handed to `take`, which hold the mark and the exit code.
        """
        mark = secrets.token_hex(16)
        limit = str(math.ceil(timeout_s))
        line = "exec " + shlex.join(["sh", "-c", _RUN, "sh", mark, limit, self._directory, *argv])
        end = subprocesses.Tail(4096)

        def take_both(chunk: bytes) -> None:
            end.take(chunk)
            take(chunk)

        started = time.monotonic()
        timeout = DeviceError(f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card")
        try:
            exit_code = subprocesses.run([*self._command, line], take_both, timeout_s=timeout_s + LINK_S, stdin=stdin)
        except subprocesses.CommandTimeout:
            raise timeout from None
        except OSError as error:
            raise DeviceError(f"{self._command[0]} can't be run: {error.strerror or error}") from None
        trailer = re.search(rb"\n%s (\d{1,3})\n\Z" % mark.encode(), end.get_content())
        if trailer is not None:
            return _decode_exit_code(int(trailer[1])), trailer[0]
        output = end.get_content().decode(errors="replace")
        if (refusal := self.explain_refusal(exit_code, output)) is not None:
            raise DeviceRefusedError(refusal)
        if time.monotonic() - started >= timeout_s:
            raise timeout
        raise DeviceUnreachableError(
            f"the link to the device was lost ({self._command[0]}, exit code {exit_code}): {_shorten(output)}"
        )


def _write_limited(stream: IO[bytes]) -> Callable[[bytes], None]:
    """Return a function that writes to `stream` and raises DeviceError beyond the limit of a transfer."""

    def take(chunk: bytes) -> None:
        if stream.tell() + len(chunk) > transfer.MAX_BYTES:
            raise DeviceError(f"the device sends more than {transfer.MAX_BYTES:,} bytes")
        stream.write(chunk)

    return take


def _decode_exit_code(code: int) -> int:
    """Return a signal as a negative number, as Python does, and any other exit code unchanged."""
    return _SIGNAL_BASE - code if _SIGNAL_BASE < code <= _SIGNAL_BASE + _MAX_SIGNAL else code


def _shorten(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-SHOWN_LINES:] if line.strip()) or "no output"
