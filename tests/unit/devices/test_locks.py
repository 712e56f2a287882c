"""Locks between processes: their order, and locks whose holder was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edgeproof.core import file_locks
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks


@pytest.fixture(autouse=True)
def lock_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the machine's locks in a directory of the test."""
    monkeypatch.setattr(locks, "_get_lock_directory", lambda: tmp_path / "machine")
    return tmp_path / "machine"


class Holder:
    """Another process that holds a lock until it is killed."""

    def __init__(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        reader, writer = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            with lock():
                os.write(writer, b"x")
                time.sleep(60)
            os._exit(0)
        os.close(writer)
        self._reader = reader

    def wait_until_held(self, timeout_s: float = 10) -> bool:
        import select

        return bool(select.select([self._reader], [], [], timeout_s)[0])

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._reader)


def is_blocked(
    first: Callable[[], AbstractContextManager[None]], second: Callable[[], AbstractContextManager[None]]
) -> bool:
    """Return True if `second` waits for `first`. Assert that it gets its lock when the holder of `first` is killed."""
    one = Holder(first)
    assert one.wait_until_held()
    two = Holder(second)
    waited = not two.wait_until_held(0.3)
    one.kill()
    assert two.wait_until_held()
    two.kill()
    return waited


def test_a_lock_has_one_holder_and_is_free_after_its_holder_is_killed(tmp_path: Path) -> None:
    assert is_blocked(lambda: file_locks.hold(tmp_path / "a"), lambda: file_locks.hold(tmp_path / "a"))
    assert not is_blocked(lambda: file_locks.hold(tmp_path / "a"), lambda: file_locks.hold(tmp_path / "b"))


def test_try_hold_does_not_wait_for_a_lock_that_is_held(tmp_path: Path) -> None:
    other = Holder(lambda: file_locks.hold(tmp_path / "a"))
    assert other.wait_until_held()
    with file_locks.try_hold(tmp_path / "a") as mine:
        assert not mine
    other.kill()
    with file_locks.try_hold(tmp_path / "a") as mine:
        assert mine


def test_a_device_has_one_measurement_at_a_time_and_other_devices_are_free() -> None:
    assert is_blocked(
        lambda: locks.hold_for_measuring("pi", here=False), lambda: locks.hold_for_measuring("pi", here=False)
    )
    assert not is_blocked(
        lambda: locks.hold_for_measuring("pi", here=False), lambda: locks.hold_for_measuring("phone", here=False)
    )


def test_builds_run_in_parallel_but_not_during_a_measurement_on_this_machine() -> None:
    assert not is_blocked(locks.hold_for_building, locks.hold_for_building)
    assert is_blocked(locks.hold_for_building, lambda: locks.hold_for_measuring("local", here=True))
    assert is_blocked(lambda: locks.hold_for_measuring("local", here=True), locks.hold_for_building)
    assert not is_blocked(lambda: locks.hold_for_measuring("pi", here=False), locks.hold_for_building)


def test_a_waiting_measurement_comes_before_later_builds() -> None:
    first = Holder(locks.hold_for_building)
    assert first.wait_until_held()
    measurement = Holder(lambda: locks.hold_for_measuring("local", here=True))
    assert not measurement.wait_until_held(0.3)
    later = Holder(locks.hold_for_building)
    assert not later.wait_until_held(0.3)
    first.kill()
    assert measurement.wait_until_held()
    assert not later.wait_until_held(0.1)
    measurement.kill()
    assert later.wait_until_held()
    later.kill()


def test_the_reason_for_waiting_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    assert other.wait_until_held()
    second = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    time.sleep(0.3)
    assert "waiting for device 'pi', on which another session measures" in capfd.readouterr().err
    second.kill()
    other.kill()


def test_a_lock_directory_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(locks.os, "getuid", lambda: 54321)
    with pytest.raises(EdgeproofError, match="belongs to somebody else"), locks.hold_for_building():
        pass
