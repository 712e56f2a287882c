"""Roll-outs: waves, devices side by side, and a journal from which the same command continues."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import ConfigError, DeviceError, DeviceUnreachableError
from edgeproof.deployment import rollout, waves
from edgeproof.deployment.rollout import Rollout
from edgeproof.farm import journal


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(
    change: Callable[[str], str], devices: str = "abcdef", size: int = 2, **options: Any
) -> tuple[dict[str, Any], str]:
    """Run a roll-out and return the outcomes and what it printed."""
    lines: list[str] = []
    settings = {"is_current": lambda name: True, "parallel": 3, **options}
    plan = Rollout("t", list(devices), change, wave_size=size, report=lines.append, **settings)
    return dict(plan.run()), "\n".join(lines)


def fail_on(names: str, error: type[Exception] = DeviceError) -> tuple[Callable[[str], str], list[str]]:
    """Return a change that fails on some devices, and the list of its calls."""
    calls: list[str] = []

    def change(name: str) -> str:
        calls.append(name)
        if name in names:
            raise error(f"{name} is broken")
        return "done"

    return change, calls


@given(st.integers(1, 500), st.integers(1, 1000))
def test_waves_hold_every_device_once_in_order(total: int, tenths: int) -> None:
    devices = [str(number) for number in range(total)]
    size = waves.count_devices(f"{tenths / 10}%", total)
    assert size == math.ceil(total * tenths / 1000)
    groups = waves.split(devices, size)
    assert [name for group in groups for name in group] == devices
    assert {len(group) for group in groups[:-1]} <= {size}


@pytest.mark.parametrize("wave", ["0", "-1", "0%", "101%", "ten", "10 %", "", "1.5", "٣", "nan%"])
def test_other_waves_are_refused(wave: str) -> None:
    with pytest.raises(ConfigError, match="a number of devices or a share of them, such as 3 or 10%"):
        waves.count_devices(wave, 10)


def test_a_wave_with_a_failure_is_finished_and_the_next_one_is_not_started() -> None:
    change, calls = fail_on("c")
    outcomes, output = run(change)
    assert "".join(outcomes[name][0] for name in "abcdef") == "ddfdnn"
    assert set(calls) == set("abcd")
    assert "wave 2 of 3: c, d" in output
    assert "c: failed: c is broken" in output


def test_the_same_roll_out_continues_where_it_stopped() -> None:
    run(fail_on("c")[0])
    change, _ = fail_on("")
    outcomes, _ = run(change)
    assert set(outcomes.values()) == {"done"}
    kinds = [event.kind for event in journal.read(rollout.locate_journal("t")) if event.job == "c"]
    assert kinds == ["started", "failed", "started", "done"]


def test_a_device_that_was_done_and_is_gone_does_not_stop_a_roll_out_that_continues() -> None:
    run(fail_on("c")[0])
    outcomes, output = run(fail_on("a", DeviceUnreachableError)[0])
    assert set(outcomes.values()) == {"done"}
    assert "a: done before; it cannot be reached now: a is broken" in output
    outcomes, _ = run(fail_on("a", DeviceUnreachableError)[0], is_current=lambda name: False)
    assert outcomes["a"] == "failed"


def test_a_torn_and_a_damaged_journal_repeat_devices_instead_of_failing() -> None:
    run(fail_on("")[0])
    path = rollout.locate_journal("t")
    path.write_bytes(b"{}\n" + path.read_bytes()[:-9])
    outcomes, output = run(fail_on("")[0])
    assert set(outcomes.values()) == {"done"}
    assert "has 1 damaged line(s), the first is line 1" in output


def test_devices_of_a_wave_work_side_by_side_up_to_the_bound() -> None:
    meeting = threading.Barrier(3, timeout=20)
    lock, working, most = threading.Lock(), 0, 0

    def change(name: str) -> str:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        meeting.wait()  # passes only when three devices have begun
        with lock:
            working -= 1
        return "done"

    run(change, size=6)
    assert most == 3


def test_an_interruption_finishes_the_devices_that_have_begun() -> None:
    def change(name: str) -> str:
        if name == "b":
            raise KeyboardInterrupt
        return "done"

    with pytest.raises(KeyboardInterrupt):
        run(change, parallel=1)
    events = journal.latest_by_job(journal.read(rollout.locate_journal("t")))
    assert events["a"].kind == "done"
    assert "c" not in events
