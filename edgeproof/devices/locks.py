"""The locks of this machine: one session measures on a device at a time, and no build runs beside a measurement."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeproof.config.file_names import check_file_name
from edgeproof.connection.private_directory import make_private_directory
from edgeproof.core.file_locks import hold
from edgeproof.devices.lock_holders import describe_command, name_holder, read_holder

NAME_ATTEMPTS = 20
NAME_RETRY_S = 0.05
SAFE_TO_INTERRUPT = "Ctrl-C is safe: the same command starts or continues it later."


@contextmanager
def hold_for_measuring(device: str, *, here: bool) -> Iterator[None]:
    """Hold the locks of a measurement, so that nothing else measures on `device`.

    If the device is this machine (`here`), nothing builds on it either. A wait is explained on stderr. Raises
    ConfigError for a device whose name is not a file name.
    """
    check_file_name("device", device)
    directory = _get_lock_directory()
    with ExitStack() as locks:
        locks.enter_context(_hold(directory / f"device-{device}", f"device '{device}', on which {{}} measures"))
        if here:
            # Builds pass the gate one by one, so that a measurement that waits at the gate comes before later builds.
            locks.enter_context(_hold(directory / "gate", "{}, which measures on this machine too"))
            locks.enter_context(_hold(directory / "building", "{}, which builds on this machine"))
        yield


@contextmanager
def hold_for_building() -> Iterator[None]:
    """Hold the lock of a build: other builds may run, but no measurement on this machine."""
    directory = _get_lock_directory()
    with ExitStack() as locks:
        # Other builds hold the gate for a moment only, so a wait for one is not worth a line.
        wait = functools.partial(_explain_wait, directory / "gate", "{}, which measures on this machine")
        with hold(directory / "gate", if_busy=wait):
            locks.enter_context(_hold(directory / "building", "{}, which measures on this machine", shared=True))
        yield


@contextmanager
def _hold(lock: Path, wait_for: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock and name this process in it. `wait_for` is the message to waiters, with a gap for the holder."""
    wait = functools.partial(_explain_wait_for_holder, lock, wait_for)
    with hold(lock, shared=shared, if_busy=wait), name_holder(lock, describe_command()):
        yield


def _explain_wait_for_holder(lock: Path, wait_for: str) -> str:
    """Return the message to a process that waits. The holder may have taken the lock just now, and name itself next."""
    for _ in range(NAME_ATTEMPTS):
        if (message := _explain_wait(lock, wait_for)) is not None:
            return message
        time.sleep(NAME_RETRY_S)
    return f"waiting for {wait_for.format('another process')}. {SAFE_TO_INTERRUPT}"


def _explain_wait(lock: Path, wait_for: str) -> str | None:
    """Return the message to a process that waits, or None if the lock names nobody."""
    holder = read_holder(lock)
    return None if holder is None else f"waiting for {wait_for.format(holder)}. {SAFE_TO_INTERRUPT}"


def _get_lock_directory() -> Path:
    """Return the user's directory for locks, the same one for all checkouts and logins."""
    return make_private_directory("locks")
