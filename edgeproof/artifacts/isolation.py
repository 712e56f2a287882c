"""Export in a process of its own, because some converters crash on networks that they can't take, or never end.

OpenVINO's compiler, for example, ends with a segmentation fault on some pruned networks. The scheme that was being
exported then becomes unsupported, and a new process exports the others.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from edgeproof.config import runtime_extras
from edgeproof.config.params import ExportParams
from edgeproof.core import processes
from edgeproof.core.directories import META, write_atomically
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import ARTIFACTS

# A converter that works on one scheme for this long is ended. The longest exports of the studies take minutes.
TIME_LIMIT_S = 2 * 3600
CHECK_INTERVAL_S = 5.0
GRACE_S = 10  # for the end of a process that was told to end
# The signals of a process that has failed by itself. Others come from a user or from the system.
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


def export(item: ExportParams, task: str) -> None:
    """Export a model and write artifacts/<runtime>/<model>, with one directory for each scheme and seed.

    A scheme that the runtime does not support, whose converter crashes or never ends, or whose packages are an
    extra that is not installed gets a meta.json with the reason. Raises EdgeproofError when a converter fails in
    another way.
    """
    refusals = runtime_extras.refuse_artifacts(item)
    with write_atomically(ARTIFACTS / item.runtime / item.model) as out:
        while (failure := _export_in_child(item, task, out, refusals)) is not None:
            unfinished = _list_unfinished(out)
            if not unfinished or unfinished[-1] in refusals:
                raise EdgeproofError(f"exporting '{item.model}' to {item.runtime} {failure}")
            refusals[unfinished[-1]] = f"the converter for {item.runtime} {failure} on this network"


def _list_unfinished(out: Path) -> list[str]:
    """Return the names of the directories in `out` without a meta.json."""
    return [path.name for path in sorted(out.iterdir()) if not (path / META).exists()]


def _export_in_child(item: ExportParams, task: str, out: Path, refusals: Mapping[str, str]) -> str | None:
    """Export in a child process. Return how it failed if it crashed or did not end, or None when it has finished.

    Raises the EdgeproofError or OSError of the child, and EdgeproofError if it ended in another way.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_export_and_send, args=(sender, item, task, out, dict(refusals)))
    child.start()
    sender.close()
    try:
        receiver.recv()  # the child has imported its modules
        if not _wait(receiver, out):
            return f"did not end within {TIME_LIMIT_S / 60:.0f} minutes"
        error: Exception | None = receiver.recv()
    except EOFError:  # the child ended before it could send anything
        child.join()
        return f"ended with {_name_crash(item, child.exitcode or 0)}"
    finally:
        _end(child)
        receiver.close()
    if error is not None:
        raise error
    return None


def _wait(receiver: Connection, out: Path) -> bool:
    """Wait until the child sends something or ends. Return False if one scheme takes longer than the time limit."""
    current, started = _list_unfinished(out), time.monotonic()
    while not receiver.poll(CHECK_INTERVAL_S):
        if (unfinished := _list_unfinished(out)) != current:
            current, started = unfinished, time.monotonic()
        elif time.monotonic() - started > TIME_LIMIT_S:
            return False
    return True


def _end(child: SpawnProcess) -> None:
    """End the child and wait for it. Native code that never returns to Python is killed."""
    child.terminate()
    child.join(GRACE_S)
    child.kill()
    child.join()


def _name_crash(item: ExportParams, exit_code: int) -> str:
    """Return the signal of a process that crashed. Raises EdgeproofError if it ended in another way."""
    name = signal.Signals(-exit_code).name if exit_code < 0 else f"code {exit_code}"
    if name in CRASHES:
        return name
    memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    raise EdgeproofError(f"exporting '{item.model}' to {item.runtime} ended with {name}{memory}.")


def _export_and_send(sender: Connection, item: ExportParams, task: str, out: Path, refusals: Mapping[str, str]) -> None:
    """Send None when the export begins, and None or an error when it ends. This runs in the child."""
    from tqdm import tqdm

    from edgeproof.artifacts import export  # imports torch, which the parent doesn't need

    # The default lock of the converters' progress bars is a semaphore, which Python 3.13 reports as leaked at the end.
    tqdm.set_lock(threading.RLock())
    processes.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and ends this process
    sender.send(None)
    try:
        export.export_schemes(item, task, out, refusals)
    except EdgeproofError as error:
        sender.send(EdgeproofError(str(error)))  # a subclass may not survive the way through the pipe
    except OSError as error:
        sender.send(OSError(error.errno or 0, error.strerror or str(error), error.filename))
    else:
        sender.send(None)
