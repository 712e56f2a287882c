"""The load of a device, from the counters that its kernel gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproof.bench import load
from edgeproof.bench.load import DeviceLoad
from edgeproof.bench.verdict import DEFAULT_LIMITS
from edgeproof.core.errors import DeviceError
from edgeproof.transports import local
from tests.support.verdict_limits import TOLERANT


def print_counters(pressure_us: int | None, busy_ticks: int | None, uptime_s: float | None) -> str:
    """Return what 'head' prints for the files that a device has."""
    lines = []
    if pressure_us is not None:
        lines += ["==> /proc/pressure/cpu <==", f"some avg10=0.00 avg60=1.50 avg300=0.30 total={pressure_us}", ""]
    if busy_ticks is not None:
        lines += ["==> /proc/stat <==", f"cpu  {busy_ticks - 6} 1 2 99999 5 1 2 7 0 0", ""]
    if uptime_s is not None:
        lines += ["==> /proc/uptime <==", f"{uptime_s:.2f} 4000.00"]
    return "\n".join(lines) + "\n"


def test_pressure_and_busy_processors_are_shares_of_the_devices_own_time() -> None:
    text = print_counters(1_000, 500, 100.0) + print_counters(301_000, 802, 102.0)
    assert load.parse_load(text) == DeviceLoad(pressure_share=0.15, busy_cpus=1.5)


def test_a_device_without_psi_is_judged_by_its_busy_processors() -> None:
    text = print_counters(None, 500, None) + print_counters(None, 602, None)
    measured = load.parse_load(text)
    assert measured == DeviceLoad(pressure_share=None, busy_cpus=1.0)
    assert measured.explain_excess(DEFAULT_LIMITS) == "other processes use 1.00 processors (limit 0.25)"


@pytest.mark.parametrize(
    "text", ["", "sh: head: not found", print_counters(1, 6, 1.0), "some total=99x\ncpu a b c\n" * 2]
)
def test_a_device_that_reports_nothing_counts_as_quiet(text: str) -> None:
    assert load.parse_load(text) == DeviceLoad()
    assert DeviceLoad().explain_excess(DEFAULT_LIMITS) == ""


def test_a_load_within_the_limits_of_a_run_is_no_excess() -> None:
    assert DeviceLoad(0.10, 0.25).explain_excess(DEFAULT_LIMITS) == ""
    assert DeviceLoad(0.9, 2.0).explain_excess(DEFAULT_LIMITS) == (
        "other processes use 2.00 processors (limit 0.25) and tasks wait for a processor in 90% of the time (limit 10%)"
    )
    assert DeviceLoad(1.0, 64.0).explain_excess(TOLERANT) == ""


def test_a_clock_that_stood_still_makes_no_division_by_zero() -> None:
    measured = load.parse_load(print_counters(0, 6, 1.0) + print_counters(500_000, 58, 1.0))
    assert measured == DeviceLoad(pressure_share=0.5, busy_cpus=0.5)


def print_process(pid: int, name: str, ticks: int) -> str:
    return f"{pid} ({name}) S 1 {pid} {pid} 0 -1 4194560 1 2 3 4 {ticks - 3} 3 0 0 20 0 1 0 17 99 88 1844"


def test_the_busiest_processes_are_named_first_and_idle_ones_are_left_out() -> None:
    before = {(7, "python3"): 100, (8, "a (b) c"): 50, (9, "sshd"): 10, (10, "make"): 5, (11, "cc1"): 5}
    growth = {7: 198, 8: 40, 9: 1, 10: 60, 11: 20}
    readings = [
        [print_process(pid, name, ticks + later * growth[pid]) for (pid, name), ticks in before.items()]
        for later in (0, 1)
    ]
    text = "\n".join([*readings[0], *readings[1], print_process(12, "new", 900)])
    assert load.parse_processes(text) == ["python3 (pid 7) 1.98", "make (pid 10) 0.60", "a (b) c (pid 8) 0.40"]


@pytest.mark.parametrize("text", ["", "cat: not found", "1 (x"])
def test_hidden_processes_are_not_named(text: str) -> None:
    assert load.parse_processes(text) == []


class Device:
    """A device that is gone."""

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        raise DeviceError("gone")

    def push(self, path: object, name: str) -> None: ...
    def pull(self, name: str, path: object) -> None: ...
    def remove(self, name: str) -> None: ...


def test_a_device_that_cannot_be_reached_counts_as_quiet() -> None:
    assert load.measure_load(Device()) == DeviceLoad()
    assert load.list_busy_processes(Device()) == []


def test_this_machine_reports_its_load_within_a_second(tmp_path: Path) -> None:
    measured = load.measure_load(local.Transport(tmp_path))
    assert measured.busy_cpus is not None
    assert 0 <= measured.busy_cpus < math.inf
