"""Measure the load of a device's processors, before a session and between its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeproof.bench.verdict import VerdictLimits
from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError

# The time over which the load is measured. Simple shells wait for whole seconds only.
INTERVAL_S = 1
READ_TIMEOUT_S = 10.0
SHOWN_PROCESSES = 3
# Processes that use less than this are not named.
LEAST_CPUS = 0.05
# The kernel's unit of time in /proc, on every architecture in use.
TICKS_PER_S = 100
# The error of a difference of two tick counters, as in edgeproof/bench/conditions.py.
TICK_ERROR = 2

# One command takes both readings, so that logging in to the device is not part of its load.
_READ_COUNTERS = "head -n 1 /proc/pressure/cpu /proc/stat /proc/uptime 2>/dev/null"
_READ_PROCESSES = "cat /proc/[0-9]*/stat 2>/dev/null"
_PRESSURE = re.compile(r"^some .*\btotal=(\d+)$", re.MULTILINE)
_TICKS = re.compile(r"^cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+)\b", re.MULTILINE)
_UPTIME = re.compile(r"^(\d+\.\d+) \d+\.\d+$", re.MULTILINE)
_PROCESS = re.compile(r"^(\d+) \((.*)\) [A-Za-z] (?:-?\d+ ){10}(\d+) (\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class DeviceLoad:
    """The load of a device during one interval. A figure that the device does not report is None.

    Attributes:
        pressure_share: share of the time in which some task waited for a processor (PSI).
        busy_cpus: number of processors in use, on average.
    """

    pressure_share: float | None = None
    busy_cpus: float | None = None

    def explain_excess(self, limits: VerdictLimits) -> str:
        """Return which limits of a valid run the load exceeds, in words, or an empty text if it exceeds none."""
        parts = []
        if self.busy_cpus is not None and self.busy_cpus > limits.others_cpus:
            parts.append(f"other processes use {self.busy_cpus:.2f} processors (limit {limits.others_cpus:g})")
        if self.pressure_share is not None and self.pressure_share > limits.pressure_share:
            share, limit = self.pressure_share, limits.pressure_share
            parts.append(f"tasks wait for a processor in {share:.0%} of the time (limit {limit:.0%})")
        return " and ".join(parts)


def measure_load(transport: DeviceTransport) -> DeviceLoad:
    """Measure the load of a device for INTERVAL_S. All figures are None if the device can't be read."""
    return parse_load(_run(transport, f"{_READ_COUNTERS}; sleep {INTERVAL_S}; {_READ_COUNTERS}"))


def list_busy_processes(transport: DeviceTransport) -> list[str]:
    """Return the processes that use most of the processors, such as "python3 (pid 7) 1.98"; none if they are hidden."""
    return parse_processes(_run(transport, f"{_READ_PROCESSES}; sleep {INTERVAL_S}; {_READ_PROCESSES}"))


def parse_load(text: str) -> DeviceLoad:
    """Return the load between two readings of /proc/pressure/cpu, /proc/stat and /proc/uptime."""
    uptimes_s = [float(reading) for reading in _UPTIME.findall(text)]
    elapsed_s = _get_growth(uptimes_s) or INTERVAL_S
    pressure_us = _get_growth([int(reading) for reading in _PRESSURE.findall(text)])
    ticks = _get_growth([sum(map(int, reading)) for reading in _TICKS.findall(text)])
    return DeviceLoad(
        pressure_share=None if pressure_us is None else pressure_us / 1e6 / elapsed_s,
        busy_cpus=None if ticks is None else max(0.0, ticks - TICK_ERROR) / TICKS_PER_S / elapsed_s,
    )


def parse_processes(text: str) -> list[str]:
    """Return the busiest processes between two readings of /proc/<pid>/stat of all processes."""
    first: dict[tuple[str, str], int] = {}
    cpus: dict[tuple[str, str], float] = {}
    for pid, name, user, system in _PROCESS.findall(text):
        ticks = int(user) + int(system)
        begin = first.setdefault((pid, name), ticks)
        cpus[pid, name] = (ticks - begin) / TICKS_PER_S / INTERVAL_S
    busiest = sorted(cpus.items(), key=lambda process: -process[1])[:SHOWN_PROCESSES]
    return [f"{name} (pid {pid}) {used:.2f}" for (pid, name), used in busiest if used >= LEAST_CPUS]


def _get_growth(readings: Sequence[float]) -> float | None:
    return readings[1] - readings[0] if len(readings) == 2 else None


def _run(transport: DeviceTransport, script: str) -> str:
    """Run a script and return its output, or '' for an unreachable device: its first run reports the reason."""
    try:
        return transport.run(["sh", "-c", script], READ_TIMEOUT_S)[1]
    except DeviceError:
        return ""
