"""Pause a session while other processes keep the device busy, so that its runs do not use up their attempts.

A pause changes only when a run begins, or whether it begins at all. It never changes the verdict of a run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection

from edgeproof.bench.load import INTERVAL_S, DeviceLoad
from edgeproof.bench.patience import Patience
from edgeproof.bench.verdict import VerdictLimits

# The figures of a run that other processes on the device change.
BUSY_FIGURES = frozenset({"waiting_share", "pressure_share", "others_cpus", "switches_per_s"})
# A session pauses after this many attempts in a row that were refused for the same figure.
REFUSED_IN_A_ROW = 3


class BusyPause:
    """The pauses of one session.

    `measure_load` measures the load of the device, which counts as quiet up to the `limits` of a valid run. All pauses
    together take at most the seconds of `patience`. `clock` counts seconds.

    Attributes:
        may_repeat_runs: False if the next disturbed run is not to be repeated. A session that is to measure a busy
            device stops repeating when the time for pauses is used up, until a run is no longer disturbed.
    """

    def __init__(
        self,
        measure_load: Callable[[], DeviceLoad],
        limits: VerdictLimits,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.may_repeat_runs = True
        self._measure_load = measure_load
        self._limits = limits
        self._clock = clock
        self._may_stop = not patience.measures_busy
        self._total_s = self._left_s = patience.seconds
        self._refused = 0
        self._shared: frozenset[str] = frozenset()

    @property
    def skips_busy_runs(self) -> bool:
        """True if no run begins any more while the device is busy, because the time for pauses is used up.

        Always False in a session that is to measure a busy device.
        """
        return self._may_stop and not self.may_repeat_runs

    def observe(self, exceeded: Collection[str]) -> None:
        """Record the names of the figures for which the last attempt was refused; none if it was not refused."""
        busy = BUSY_FIGURES.intersection(exceeded)
        self.may_repeat_runs = self.may_repeat_runs or not (busy or self.skips_busy_runs)
        shared = self._shared & busy
        self._refused = self._refused + 1 if shared else min(1, len(busy))
        self._shared = shared or busy

    def wait_until_quiet(self) -> None:
        """Wait if the last attempts were all refused for the same figure and the device is still busy."""
        if self._refused < REFUSED_IN_A_ROW or self.skips_busy_runs:
            return
        self._refused = 0
        if self._left_s >= INTERVAL_S:
            self._pause()
        self.may_repeat_runs = self._left_s >= INTERVAL_S

    def explain_skipped_run(self) -> str | None:
        """Return why the next run must not begin, or None if it may. Measures the load after the pauses are over."""
        if not self.skips_busy_runs or not (excess := self._measure_load().explain_excess(self._limits)):
            return None
        pauses = f", after pauses of {self._total_s:.0f} s" if self._total_s else ""
        return f"not started: {excess}{pauses}. Measure again when the device is quiet"

    def _pause(self) -> None:
        begin_s = self._clock()
        if self._is_busy():
            print(
                f"  paused: {REFUSED_IN_A_ROW} runs in a row were refused because other processes use the device. "
                f"Waiting until it is quiet, at most {self._left_s:.0f} s.",
                file=sys.stderr,
            )
            while self._clock() - begin_s < self._left_s and self._is_busy():
                pass
        self._left_s -= self._clock() - begin_s

    def _is_busy(self) -> bool:
        return bool(self._measure_load().explain_excess(self._limits))
