"""Call functions in a child process, because converters and engines may crash, never end, or use up the memory.

OpenVINO's compiler, for example, ends with a segmentation fault on some pruned networks. The process that makes the
call lives on and gets the reason.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol, Self, TypeVar

from edgeproof import entry
from edgeproof.core import processes
from edgeproof.core.errors import ConfigError, EdgeproofError, Unsupported

# A converter that works on one scheme for this long is ended. The longest exports of the studies take minutes.
TIME_LIMIT_S = 2 * 3600
CHECK_INTERVAL_S = 5.0
GRACE_S = 10  # for the end of a process that was told to end
# The signals of a process that has failed by itself. Others come from a user or from the system.
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
# Not a main module, as multiprocessing's: that would run the script of a user who calls edgeproof.bench().
PROGRAM = "import sys; sys.path[:] = {path}; from edgeproof.artifacts import child_process; child_process.serve({fd})"

Result = TypeVar("Result")


class Caller(Protocol):
    """Calls a function, in this process or in another one."""

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of the function, or raise its error."""


class ChildFailure(EdgeproofError):
    """A child process ended before it returned a result. The message is a verb phrase: "ended with SIGSEGV".

    `is_lasting` is True if the same call would fail again: the child crashed, or did not end within the time limit.
    """

    def __init__(self, message: str, *, is_lasting: bool) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


def call_here(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in this process."""
    return function(*arguments)


class ChildProcess:
    """A process that calls functions, one after another. It starts with the first call, and again after a failure.

    Use it as a context manager, which ends the process and removes its temporary files.

    Args:
        preload: modules that are imported before the clock of the time limit starts.
        observe: returns what the function has done so far. The clock starts again whenever that changes.
    """

    def __init__(self, preload: Sequence[str] = (), observe: Callable[[], object] = lambda: None) -> None:
        self._preload = tuple(preload)
        self._observe = observe
        self._scratch = tempfile.TemporaryDirectory(prefix="edgeproof-")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._scratch.cleanup()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the child. The function, its arguments and its result must be picklable.

        Raises the function's EdgeproofError or OSError, and ChildFailure if the child ended or had to be ended.
        """
        try:
            connection = self._connection or self._start()
            connection.send((function, arguments))
            if not self._wait(connection):
                raise ChildFailure(f"did not end within {TIME_LIMIT_S / 60:.0f} minutes", is_lasting=True)
            result, error = connection.recv()
        except (EOFError, ConnectionError):
            self._raise_failure()
        except BaseException:  # an interruption too: the next call must not get the result of this one
            self._end()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _start(self) -> Connection:
        """Start the child and wait until it has imported its modules."""
        self._connection, theirs = Pipe()
        with theirs:
            program = PROGRAM.format(path=[str(path) for path in sys.path], fd=theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints must not end up in the table
                pass_fds=[theirs.fileno()],
                env={**os.environ, "TMPDIR": self._scratch.name},
            )
        self._connection.send(self._preload)
        self._connection.recv()
        return self._connection

    def _wait(self, connection: Connection) -> bool:
        """Wait until the child sends something or ends. Return False if it takes longer than the time limit."""
        progress, started = self._observe(), time.monotonic()
        while not connection.poll(CHECK_INTERVAL_S):
            if (current := self._observe()) != progress:
                progress, started = current, time.monotonic()
            elif time.monotonic() - started > TIME_LIMIT_S:
                return False
        return True

    def _raise_failure(self) -> NoReturn:
        """Raise ChildFailure with the signal or the exit code of the child, which has closed the connection."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._end()
        code = self._process.returncode
        name = processes.name_signal(-code) if code < 0 else f"code {code}"
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        raise ChildFailure(f"ended with {name}{memory}", is_lasting=name in CRASHES)

    def _end(self) -> None:
        """End the child and wait for it. Native code that never returns to Python is killed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
            self._process.kill()
            self._process.wait()


def serve(descriptor: int) -> None:
    """Call the functions that the parent sends, until it closes the connection. This runs in the child."""
    os.set_inheritable(descriptor, False)  # a converter's own child would keep the connection open
    processes.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and ends this process
    gc.set_threshold(*entry.GC_THRESHOLDS)
    _replace_lock_of_progress_bars()
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        for module in connection.recv():
            importlib.import_module(module)
        connection.send(None)
        while True:
            function, arguments = connection.recv()
            connection.send(_call(function, arguments))


def _replace_lock_of_progress_bars() -> None:
    """Give the converters' progress bars another lock than a semaphore, which Python 3.13 reports as leaked."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def _call(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, Exception | None]:
    """Return the result of a function and None, or None and its EdgeproofError or OSError."""
    try:
        return function(*arguments), None
    except EdgeproofError as error:
        # Other subclasses may not survive the way through the pipe.
        kind = next((kind for kind in (ConfigError, Unsupported) if isinstance(error, kind)), EdgeproofError)
        return None, kind(str(error))
    except OSError as error:
        return None, OSError(error.errno or 0, error.strerror or str(error), error.filename)
