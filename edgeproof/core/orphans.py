"""End a process when a process above it ends, also by SIGKILL, and also with a shell between the two. Linux only.

The kernel's own signal (`processes.die_with_parent`) reaches only direct children, and DVC starts stages in a shell.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

# Names the process that runs the whole command. Its children inherit the variable.
STARTER_VARIABLE = "EDGEPROOF_STARTER_PID"
# DVC sets this variable for the commands of its stages.
DVC_VARIABLE = "DVC_STAGE"
SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh", "fish")
# A process that cannot end itself in this time, because a library does not return, is ended at once.
GRACE_PERIOD_S = 30.0
POLL_INTERVAL_S = 1.0
TERMINATED = 143


def end_with_starter() -> None:
    """Send SIGTERM to this process when the command's process or DVC ends. Do it now if one has already ended.

    The command's process is the one in STARTER_VARIABLE; without the variable and outside DVC there is nothing to do.
    """
    if sys.platform != "linux":
        return
    pids = []
    if os.environ.get(STARTER_VARIABLE, "").isdigit():
        pids.append(int(os.environ[STARTER_VARIABLE]))
    if DVC_VARIABLE in os.environ and (dvc := find_starting_program()) is not None:
        pids.append(dvc)
    if not pids:
        return
    handles = [_open(pid) for pid in pids]
    # The handles are open, so a number that is still above this process cannot have been given to another one.
    if any(pid not in list_ancestors() for pid in pids):
        os.kill(os.getpid(), signal.SIGTERM)
        return
    threading.Thread(target=_wait_and_end, args=(pids, handles), daemon=True, name="end with starter").start()


def find_starting_program() -> int | None:
    """Return the process id of the nearest ancestor that is not a shell with a command (`sh -c`)."""
    return next((pid for pid in list_ancestors() if not _is_shell_command(pid)), None)


def list_ancestors() -> list[int]:
    """Return the process ids of the parent, its parent and so on."""
    ancestors: list[int] = []
    pid = os.getppid()
    while pid > 0 and pid not in ancestors:
        ancestors.append(pid)
        pid = _read_parent(pid)
    return ancestors


def _wait_and_end(pids: Sequence[int], handles: Sequence[int | None]) -> None:
    opened = [handle for handle in handles if handle is not None]
    if len(opened) == len(handles):
        select.select(opened, [], [])  # a handle becomes readable when its process ends
    else:
        while all(pid in list_ancestors() for pid in pids):
            time.sleep(POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_PERIOD_S)
    os._exit(TERMINATED)


def _open(pid: int) -> int | None:
    """Return a handle of a process. None if it has ended, or if the kernel offers no handles (before Linux 5.3)."""
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None


def _read_parent(pid: int) -> int:
    """Return the parent of a process, or 0 if it has none or has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name is in parentheses and may contain anything. After it come the state and the parent.
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1])
    return 0


def _is_shell_command(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="latin-1").split("\0")
        return Path(words[0]).name in SHELLS and "-c" in words
    return False
