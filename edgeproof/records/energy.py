"""Energy of an inference, integrated over LoadGen's power window from the samples of a counter."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WINDOW_FORMAT = "%m-%d-%Y %H:%M:%S.%f"


def integrate_energy_uj(telemetry: Path, log: Mapping[str, Any], *, inferences: int) -> float | None:
    """Microjoules an inference: the counter's growth between power_begin and power_end over their number.

    Between samples the counter is interpolated. None where the samples don't span the window, the counter wrapped, or
    what the device wrote is no such table.
    """
    try:
        return _integrated(telemetry, log, inferences)
    except (ValueError, KeyError, TypeError):
        return None


def _integrated(telemetry: Path, log: Mapping[str, Any], inferences: int) -> float | None:
    if inferences == 0 or "power_begin" not in log or "power_end" not in log:
        return None
    with telemetry.open(newline="", encoding="ascii") as file:
        lines = [line for line in csv.DictReader(file) if line["energy_uj"]]
    if len(lines) < 2:
        return None
    times = np.array([int(line["realtime_ns"]) for line in lines], np.float64)
    counted = np.array([int(line["energy_uj"]) for line in lines], np.float64)
    begin, end = _ns(log["power_begin"]), _ns(log["power_end"])
    if begin < times[0] or end > times[-1] or (np.diff(counted) < 0).any():
        return None
    spent = float(np.interp(end, times, counted) - np.interp(begin, times, counted))
    return spent / inferences


def _ns(text: str) -> float:
    return datetime.datetime.strptime(text, WINDOW_FORMAT).replace(tzinfo=datetime.UTC).timestamp() * 1e9
