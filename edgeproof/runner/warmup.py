"""Warm up until the inference time is steady.

Calls are timed in blocks. The state is steady when the medians of the last blocks lie within a few percent of each
other. The method follows Georges, Buytaert, Eeckhout, "Statistically Rigorous Java Performance Evaluation" (OOPSLA
2007), section 4.2, with the range of medians instead of the coefficient of variation, because single calls have
outliers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BLOCK_NS = 20_000_000
BLOCK_CALLS = 5
BLOCKS = 10
TOLERANCE = 0.05
# Smaller differences of medians come from the clock and the interpreter.
FLOOR_NS = 500


@dataclass(frozen=True)
class WarmUp:
    """The outcome of a warm-up.

    Attributes:
        steady: the last blocks agreed.
        call_ns: the median call of the last blocks.
        spread: the range of the last blocks' medians, relative to their median.
    """

    steady: bool
    call_ns: int
    spread: float
    calls: int
    duration_ns: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for result.json."""
        return asdict(self)


def warm_up(call: Callable[[], Any], limit_s: float, clock: Callable[[], int] = time.perf_counter_ns) -> WarmUp:
    """Call until the last blocks agree, or until `limit_s` has passed and BLOCKS blocks were timed."""
    medians: list[float] = []
    calls, begin = 0, clock()
    while True:
        block = _time_block(call, clock)
        calls += len(block)
        medians.append(float(np.median(block)))
        last = medians[-BLOCKS:]
        median = float(np.median(last))
        spread = max(last) - min(last)
        steady = len(last) == BLOCKS and spread <= max(TOLERANCE * median, FLOOR_NS)
        elapsed_ns = clock() - begin
        if steady or (len(last) == BLOCKS and elapsed_ns > limit_s * 1e9):
            return WarmUp(steady, max(1, int(median)), spread / max(median, 1.0), calls, elapsed_ns)


def _time_block(call: Callable[[], Any], clock: Callable[[], int]) -> list[int]:
    durations: list[int] = []
    begin = clock()
    while len(durations) < BLOCK_CALLS or clock() - begin < BLOCK_NS:
        started = clock()
        call()
        durations.append(clock() - started)
    return durations
