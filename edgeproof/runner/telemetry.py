"""Sample the machine's counters while it is measured, in a process of its own.

A thread in the measured process would take the interpreter from it for milliseconds.

    python runner.pyz --watch telemetry.csv 0.2 ""

This writes a line at once, then every 0.2 s until standard input closes, and a last line. A counter that the machine
does not have is an empty field. The last argument may name a file that counts microjoules.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from edgeproof.runner import conditions

FILE = "telemetry.csv"
FLAG = "--watch"
INTERVAL_S = 0.2
COLUMNS = (
    "monotonic_ns",
    "realtime_ns",
    "cpu_pressure_us",
    "steal_ticks",
    "busy_ticks",
    "frequency_khz",
    "temperature_millic",
    "energy_uj",
)


def read_sample(energy_counter: str | None) -> dict[str, int | None]:
    """Return one line of telemetry: the machine's counters and its energy in microjoules."""
    return {**conditions.read_machine_counters(), "energy_uj": conditions.read_energy_uj(energy_counter)}


def watch(path: Path, interval_s: float, energy_counter: str | None) -> None:
    """Write samples to `path` until standard input closes."""
    with path.open("w", encoding="ascii") as file:
        print(",".join(COLUMNS), file=file)
        _write(file, energy_counter)
        print("up", flush=True)
        while not select.select([sys.stdin], [], [], interval_s)[0]:
            _write(file, energy_counter)
        _write(file, energy_counter)


def _write(file: TextIO, energy_counter: str | None) -> None:
    sample = read_sample(energy_counter)
    print(",".join("" if sample[name] is None else str(sample[name]) for name in COLUMNS), file=file, flush=True)


@contextmanager
def record_telemetry(path: Path, energy_counter: str | None) -> Iterator[None]:
    """Write samples to `path` while the block runs."""
    command = [sys.executable, "-B", sys.argv[0], FLAG, str(path), str(INTERVAL_S), energy_counter or ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()
            process.stdout.read()
