"""The runner's counters before and after one quiet second."""

from __future__ import annotations

from typing import Any

SECOND = 10**9
BEFORE: dict[str, Any] = {
    "monotonic_ns": 0,
    "realtime_ns": 10**18,
    "own_cpu_ns": 0,
    "run_delay_ns": 0,
    "involuntary_switches": 0,
    "cpu_pressure_us": 0,
    "steal_ticks": 0,
    "busy_ticks": 0,
    "ticks_per_s": 100,
    "frequency_khz": 2_000_000,
    "temperature_millic": 40_000,
}
QUIET = {**BEFORE, "monotonic_ns": SECOND, "own_cpu_ns": SECOND, "busy_ticks": 100}
