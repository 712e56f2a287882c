"""Compute the conditions of a run from the counters that the runner read before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Differences between calls that are shorter than this come from the clock and the interpreter.
CLOCK_FLOOR_NS = 5_000.0
# The error of a difference of two tick counters, which advance on each processor at its own moment.
TICK_ERROR = 2


@dataclass(frozen=True)
class Conditions:
    """The conditions of one run.

    Attributes:
        figures: the known figures by name, mostly shares of the run's time.
        unknown: the names of the figures that the machine cannot report.
    """

    figures: Mapping[str, float]
    unknown: list[str]


def compute_conditions(result: Mapping[str, Any], call_ns: Array | None) -> Conditions:
    """Compute the conditions of a run from its result and from the durations of its inferences in ns."""
    before, after = result["counters"]["before"], result["counters"]["after"]
    elapsed_ns = after["monotonic_ns"] - before["monotonic_ns"]
    tick_ns = 1e9 / before["ticks_per_s"]
    busy, own = _growth(before, after, "busy_ticks"), _growth(before, after, "own_cpu_ns")
    steal, frequency = _growth(before, after, "steal_ticks"), _growth(before, after, "frequency_khz")
    heat = _growth(before, after, "temperature_millic")
    waiting, pressure, switches = _compute_waiting(before, after, elapsed_ns)
    figures = {
        "waiting_share": waiting,
        "pressure_share": pressure,
        "others_cpus": None
        if busy is None or own is None
        else max(0.0, (busy - TICK_ERROR) * tick_ns - own) / elapsed_ns,
        "steal_cpus": None if steal is None else max(0.0, steal - TICK_ERROR) * tick_ns / elapsed_ns,
        "switches_per_s": None if switches is None else switches * 1e9 / elapsed_ns,
        "frequency_change": None if frequency is None else abs(frequency) / before["frequency_khz"],
        "temperature_rise_c": None if heat is None else heat / 1000,
        "drift": compute_drift(call_ns),
    }
    known = {name: round(value, 6) for name, value in figures.items() if value is not None}
    return Conditions(known, [name for name, value in figures.items() if value is None])


def compute_drift(call_ns: Array | None) -> float | None:
    """Return how much slower the last tenth of the inferences was than the first, by their medians.

    The value is negative when the last tenth was faster, and None for fewer than 10 inferences.
    """
    if call_ns is None or len(call_ns) < 10:
        return None
    tenth = max(1, len(call_ns) // 10)
    first, last = float(np.median(call_ns[:tenth])), float(np.median(call_ns[-tenth:]))
    return (last - first) / max(first, CLOCK_FLOOR_NS)


def _compute_waiting(
    before: Mapping[str, Any], after: Mapping[str, Any], elapsed_ns: float
) -> tuple[float | None, float | None, float | None]:
    """Return the share of time without a processor, the share with pressure, and the involuntary switches."""
    own, switches = _growth(before, after, "own_cpu_ns"), _growth(before, after, "involuntary_switches")
    delay_ns, pressure_us = _growth(before, after, "run_delay_ns"), _growth(before, after, "cpu_pressure_us")
    waiting = None if delay_ns is None else delay_ns / elapsed_ns
    pressure = None if pressure_us is None else pressure_us * 1e3 / elapsed_ns
    if before.get("processors") == 1 and waiting is not None and own is not None:
        # On one processor, LoadGen's logger and the queries wait for each other, which is not a disturbance. Other
        # processes can have had the processor only while none of our threads ran. An involuntary switch between two
        # of our threads is matched by a voluntary one.
        among_own = max(0.0, waiting - max(0.0, 1 - own / elapsed_ns))
        waiting -= among_own
        pressure = None if pressure is None else max(0.0, pressure - among_own)
        voluntary = _growth(before, after, "voluntary_switches") or 0.0
        switches = None if switches is None else max(0.0, switches - voluntary)
    return waiting, pressure, switches


def _growth(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> float | None:
    if before.get(name) is None or after.get(name) is None:
        return None
    return float(after[name] - before[name])
