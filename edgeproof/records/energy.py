"""Energy of an inference, from the samples of an energy counter during LoadGen's power window."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LOADGEN_TIME_FORMAT = "%m-%d-%Y %H:%M:%S.%f"


def integrate_energy_uj(telemetry: Path, log: Mapping[str, Any], *, inferences: int) -> float | None:
    """Return the energy of one inference in microjoules: the counter's increase in the window, divided by inferences.

    The counter is interpolated linearly between samples. Returns None if the samples don't cover the window, if the
    counter overflowed, or if the telemetry is unreadable.

    Args:
        telemetry: a CSV file with the columns realtime_ns and energy_uj.
        log: LoadGen's detail log, with power_begin and power_end.
        inferences: the number of inferences during the window.
    """
    try:
        return _integrate(telemetry, log, inferences)
    except (ValueError, KeyError, TypeError):
        return None


def _integrate(telemetry: Path, log: Mapping[str, Any], inferences: int) -> float | None:
    if inferences == 0 or "power_begin" not in log or "power_end" not in log:
        return None
    with telemetry.open(newline="", encoding="ascii") as file:
        samples = [sample for sample in csv.DictReader(file) if sample["energy_uj"]]
    if len(samples) < 2:
        return None
    times_ns = np.array([int(sample["realtime_ns"]) for sample in samples], np.float64)
    counter_uj = np.array([int(sample["energy_uj"]) for sample in samples], np.float64)
    begin_ns, end_ns = _parse_time_ns(log["power_begin"]), _parse_time_ns(log["power_end"])
    if begin_ns < times_ns[0] or end_ns > times_ns[-1] or (np.diff(counter_uj) < 0).any():
        return None
    energy_uj = float(np.interp(end_ns, times_ns, counter_uj) - np.interp(begin_ns, times_ns, counter_uj))
    return energy_uj / inferences


def _parse_time_ns(text: str) -> float:
    return datetime.datetime.strptime(text, LOADGEN_TIME_FORMAT).replace(tzinfo=datetime.UTC).timestamp() * 1e9
