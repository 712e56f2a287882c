"""The pause of a session on a busy machine, with a clock that only sleeping advances."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeproof.bench import pause
from edgeproof.bench.pause import BusyPause, read_pressure_us
from edgeproof.core.errors import DeviceError


class Machine:
    """A machine whose tasks wait in a given share of each second; the last share holds from then on."""

    def __init__(self, *shares: float) -> None:
        self.now_s = 0.0
        self._shares = shares
        self.pause = BusyPause(self.read_us, 0.1, clock=lambda: self.now_s, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def read_us(self) -> int:
        seconds = int(self.now_s)
        return int(1e6 * sum(self._shares[min(second, len(self._shares) - 1)] for second in range(seconds)))

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
    assert Machine(0.0).attempt(PRESSURE, PRESSURE, PRESSURE) == pause.INTERVAL_S
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


def test_all_pauses_of_a_session_take_a_minute_at_most() -> None:
    machine = Machine(0.9)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == pause.MAX_TOTAL_S == 60
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 0


def test_the_attempts_are_counted_again_after_a_pause() -> None:
    machine = Machine(0.9, 0.9, 0.0, 0.9, 0.9, 0.0)
    assert machine.attempt(PRESSURE, PRESSURE, PRESSURE) == 3
    assert machine.attempt(PRESSURE, PRESSURE) == 0
    assert machine.attempt(PRESSURE) == 3


class Device:
    """A device that answers every command in the same way."""

    def __init__(self, answer: tuple[int, str] | DeviceError) -> None:
        self._answer = answer

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        if isinstance(self._answer, DeviceError):
            raise self._answer
        return self._answer

    def push(self, path: object, name: str) -> None: ...
    def pull(self, name: str, path: object) -> None: ...
    def remove(self, name: str) -> None: ...


@pytest.mark.parametrize(
    ("answer", "pressure_us"),
    [
        ((0, "some avg10=0.00 avg60=1.50 avg300=0.30 total=8214\nfull avg10=0.00 avg60=0.00 total=7\n"), 8214),
        ((1, "cat: /proc/pressure/cpu: No such file or directory"), None),
        ((0, "total=99x"), None),
        (DeviceError("gone"), None),
    ],
    ids=["PSI", "a kernel without PSI", "another text", "no connection"],
)
def test_the_pressure_is_the_total_of_some_or_unknown(
    answer: tuple[int, str] | DeviceError, pressure_us: int | None
) -> None:
    assert read_pressure_us(Device(answer)) == pressure_us
