"""Locks between processes: their order, and locks whose holder was killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given

from edgeproof.core import file_locks
from edgeproof.devices import lock_holders, locks
from tests.support.damaged_json import damage


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


def test_a_wait_names_the_holder_and_says_that_it_may_be_interrupted(capfd: pytest.CaptureFixture[str]) -> None:
    first = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    assert first.wait_until_held()
    second = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    assert not second.wait_until_held(0.3)
    line = capfd.readouterr().err
    assert line.startswith(f"  waiting for device 'pi', on which process {first.process} on ")
    assert re.search(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 \(.+\) measures\. ", line)
    assert line.endswith("Ctrl-C is safe: the same command starts or continues it later.\n")
    first.kill()
    assert second.wait_until_held()
    third = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    assert not third.wait_until_held(0.3)
    assert f"on which process {second.process} on " in capfd.readouterr().err
    second.kill()
    third.kill()


def test_a_build_says_that_it_waits_for_a_measurement_and_is_silent_beside_other_builds(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = Holder(lambda: locks.hold_for_measuring("local", here=True))
    assert first.wait_until_held()
    builds = [Holder(locks.hold_for_building) for _ in range(3)]
    assert not builds[0].wait_until_held(0.3)
    assert f"waiting for process {first.process} on " in capfd.readouterr().err
    first.kill()
    assert all(build.wait_until_held() for build in builds)
    builds.append(Holder(locks.hold_for_building))
    assert builds[-1].wait_until_held()
    assert capfd.readouterr().err == ""
    for build in builds:
        build.kill()


@given(damage({"pid": 1, "host": "desk", "since": "2026-01-01T00:00:00+00:00", "why": "bench"}))
def test_a_damaged_lock_file_names_no_holder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    holder = lock_holders.read_holder(tmp_path / "lock")
    assert holder is None or str(holder).isprintable()


def test_a_waiting_process_learns_the_name_of_a_holder_that_names_itself_a_moment_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "machine" / "device-pi"

    @contextmanager
    def hold_and_name_late() -> Iterator[None]:
        with file_locks.hold(path):
            time.sleep(0.4)
            with lock_holders.name_holder(path, "slow"):
                yield

    first = Holder(hold_and_name_late)
    time.sleep(0.2)
    second = Holder(lambda: locks.hold_for_measuring("pi", here=False))
    assert first.wait_until_held()
    assert not second.wait_until_held(0.5)
    assert f"process {first.process} on " in capfd.readouterr().err
    first.kill()
    second.kill()


def test_a_lock_names_no_holder_after_its_release(tmp_path: Path) -> None:
    path = tmp_path / "machine" / "device-pi"
    with locks.hold_for_measuring("pi", here=False):
        holder = lock_holders.read_holder(path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert lock_holders.read_holder(path) is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["/home/me/edgeproof/.venv/bin/edgeproof", "bench", "my model.tflite"], "edgeproof bench 'my model.tflite'"),
        (["-m", "stages.bench", "pi_onnx"], "python -m stages.bench pi_onnx"),
        ([], ""),
    ],
)
def test_a_command_is_shown_as_a_user_types_it(argv: list[str], text: str) -> None:
    assert lock_holders.describe_command(argv) == text


def test_a_lock_is_never_written_through_a_link(tmp_path: Path, lock_directory: Path) -> None:
    lock_directory.mkdir()
    (tmp_path / "precious").write_text("mine")
    (lock_directory / "device-pi").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), locks.hold_for_measuring("pi", here=False):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
