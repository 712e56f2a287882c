"""The pause of a session on a busy machine, with a clock that only looking at it advances."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeproof.bench.load import INTERVAL_S, DeviceLoad
from edgeproof.bench.patience import Patience
from edgeproof.bench.pause import BusyPause
from edgeproof.bench.verdict import DEFAULT_LIMITS


class Machine:
    """A machine whose tasks wait in a given share of each second; the last share holds from then on."""

    def __init__(self, *shares: float, seconds: float = 60, measures_busy: bool = False) -> None:
        self.now_s = 0.0
        self._shares = shares
        patience = Patience(seconds, measures_busy)
        self.pause = BusyPause(self.look, DEFAULT_LIMITS, patience, clock=lambda: self.now_s)

    def look(self) -> DeviceLoad:
        share = self._shares[min(int(self.now_s), len(self._shares) - 1)]
        self.now_s += INTERVAL_S
        return DeviceLoad(pressure_share=share)

    def attempt(self, *attempts: Sequence[str]) -> float:
        """Observe attempts, each given by its exceeded limits. Return the duration of the pause after them."""
        for exceeded in attempts:
            self.pause.observe(exceeded)
        begin_s = self.now_s
        self.pause.wait_until_quiet()
        return self.now_s - begin_s


PRESSURE = ["pressure_share"]


def test_a_session_pauses_until_the_pressure_is_below_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(0.5, 0.5, 0.5, 0.2, 0.05)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 5
    line = capsys.readouterr().err
    assert "3 runs in a row were refused because other processes use the device" in line
    assert "at most 60 s" in line


def test_a_session_does_not_pause_on_a_machine_that_is_quiet_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(0.0).attempt(PRESSURE, PRESSURE, PRESSURE) == INTERVAL_S
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "attempts",
    [
        [PRESSURE, PRESSURE],
        [PRESSURE, [], PRESSURE, PRESSURE],
        [["drift"], ["drift"], ["drift"]],
        [["steal_cpus"], ["frequency_change"], ["temperature_rise_c"]],
        [PRESSURE, ["others_cpus"], PRESSURE],
        [],
    ],
    ids=["two", "a valid run between", "drift", "causes outside the system", "different figures", "none"],
)
def test_other_refusals_do_not_pause_a_session(attempts: list[list[str]]) -> None:
    assert Machine(0.9).attempt(*attempts) == 0


def test_one_figure_that_all_attempts_share_pauses_a_session() -> None:
    first, second, third = ["pressure_share", "drift"], ["pressure_share", "others_cpus"], ["pressure_share"]
    assert Machine(0.9, 0.9, 0.0).attempt(first, second, third) == 3


@pytest.mark.parametrize("seconds", [60, 5])
def test_all_pauses_of_a_session_take_as_long_as_the_user_is_patient(seconds: float) -> None:
    machine = Machine(0.9, seconds=seconds)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == seconds
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 0


def test_after_the_pauses_no_run_is_repeated_and_none_begins_while_the_device_is_busy() -> None:
    machine = Machine(*[0.9] * 7, 0.0, seconds=5)
    assert machine.pause.explain_skipped_run() is None
    assert not machine.pause.skips_busy_runs
    machine.attempt(PRESSURE, PRESSURE, PRESSURE)
    assert machine.pause.skips_busy_runs
    assert not machine.pause.may_repeat_runs
    for _ in range(2):
        assert machine.pause.explain_skipped_run() == (
            "not started: tasks wait for a processor in 90% of the time (limit 10%), after pauses of 5 s. "
            "Measure again when the device is quiet"
        )
    assert machine.pause.explain_skipped_run() is None


def test_a_session_without_patience_gives_up_after_three_refused_attempts() -> None:
    machine = Machine(0.9, seconds=0)
    assert machine.attempt(PRESSURE, PRESSURE) == 0
    assert not machine.pause.skips_busy_runs
    assert machine.attempt(PRESSURE) == 0
    assert machine.pause.skips_busy_runs


@pytest.mark.parametrize("seconds", [0, 20])
def test_a_session_that_is_to_measure_a_busy_device_pauses_and_never_gives_up(seconds: float) -> None:
    machine = Machine(0.9, seconds=seconds, measures_busy=True)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == seconds
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 0
    assert machine.pause.explain_skipped_run() is None


def test_such_a_session_stops_repeating_after_its_pauses_until_a_run_is_not_disturbed() -> None:
    machine = Machine(0.9, seconds=5, measures_busy=True)
    machine.attempt(PRESSURE, PRESSURE)
    assert machine.pause.may_repeat_runs
    machine.attempt(PRESSURE)
    assert not machine.pause.may_repeat_runs
    machine.attempt(PRESSURE)
    assert not machine.pause.may_repeat_runs
    machine.attempt([])
    assert machine.pause.may_repeat_runs


def test_a_pause_ends_when_the_device_is_quiet_and_does_not_give_up() -> None:
    machine = Machine(0.9, 0.9, 0.0)
    machine.attempt(PRESSURE, PRESSURE, PRESSURE)
    assert not machine.pause.skips_busy_runs


def test_the_attempts_are_counted_again_after_a_pause() -> None:
    machine = Machine(0.9, 0.9, 0.0, 0.9, 0.9, 0.0)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 3
    assert machine.attempt(PRESSURE, PRESSURE) == 0
    assert machine.attempt(PRESSURE) == 3
