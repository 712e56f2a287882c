"""Locks between processes: who waits for whom, and what a killed holder leaves behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's locks in a directory of the test's."""
    monkeypatch.setattr(locks, "_get_lock_directory", lambda: tmp_path / "machine")
    return tmp_path / "machine"


class Other:
    """Another process that holds a lock until it is told to end."""

    def __init__(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        told, tell = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            with lock():
                os.write(tell, b"x")
                time.sleep(60)
            os._exit(0)
        os.close(tell)
        self._told = told

    def has_it(self, timeout_s: float = 10) -> bool:
        import select

        return bool(select.select([self._told], [], [], timeout_s)[0])

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._told)


def waits(
    first: Callable[[], AbstractContextManager[None]], second: Callable[[], AbstractContextManager[None]]
) -> bool:
    """Whether `second` waits for `first`, and gets its lock when the holder of `first` is killed."""
    one = Other(first)
    assert one.has_it()
    two = Other(second)
    waited = not two.has_it(0.3)
    one.kill()
    assert two.has_it()
    two.kill()
    return waited


def test_a_lock_has_one_holder_and_a_killed_one_has_none(tmp_path: Path) -> None:
    assert waits(lambda: locks.hold(tmp_path / "a"), lambda: locks.hold(tmp_path / "a"))
    assert not waits(lambda: locks.hold(tmp_path / "a"), lambda: locks.hold(tmp_path / "b"))


def test_a_lock_that_somebody_has_is_not_waited_for_where_that_is_asked(tmp_path: Path) -> None:
    other = Other(lambda: locks.hold(tmp_path / "a"))
    assert other.has_it()
    with locks.try_hold(tmp_path / "a") as mine:
        assert not mine
    other.kill()
    with locks.try_hold(tmp_path / "a") as mine:
        assert mine


def test_one_measures_on_a_device_at_a_time_and_others_on_other_devices() -> None:
    assert waits(lambda: locks.hold_for_measuring("pi", here=False), lambda: locks.hold_for_measuring("pi", here=False))
    assert not waits(
        lambda: locks.hold_for_measuring("pi", here=False), lambda: locks.hold_for_measuring("phone", here=False)
    )


def test_builds_go_side_by_side_and_never_beside_a_measurement_on_this_machine() -> None:
    assert not waits(locks.hold_for_building, locks.hold_for_building)
    assert waits(locks.hold_for_building, lambda: locks.hold_for_measuring("local", here=True))
    assert waits(lambda: locks.hold_for_measuring("local", here=True), locks.hold_for_building)
    assert not waits(lambda: locks.hold_for_measuring("pi", here=False), locks.hold_for_building)


def test_a_measurement_that_waits_is_before_builds_that_come_later() -> None:
    first = Other(locks.hold_for_building)
    assert first.has_it()
    measurement = Other(lambda: locks.hold_for_measuring("local", here=True))
    assert not measurement.has_it(0.3)
    later = Other(locks.hold_for_building)
    assert not later.has_it(0.3)
    first.kill()
    assert measurement.has_it()
    assert not later.has_it(0.1)
    measurement.kill()
    assert later.has_it()
    later.kill()


def test_whoever_waits_is_told_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = Other(lambda: locks.hold_for_measuring("pi", here=False))
    assert other.has_it()
    second = Other(lambda: locks.hold_for_measuring("pi", here=False))
    time.sleep(0.3)
    assert "waiting for device 'pi', on which another session measures" in capfd.readouterr().err
    second.kill()
    other.kill()


def test_a_directory_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(locks.os, "getuid", lambda: 54321)
    with pytest.raises(EdgeproofError, match="belongs to somebody else"), locks.hold_for_building():
        pass
