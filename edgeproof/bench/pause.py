"""Pause a session while other processes keep the device busy, so that its runs do not use up their attempts.

A pause changes only when a run begins. It never changes the verdict of a run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection

from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError

# The figures of a run that other processes on the device change.
BUSY_FIGURES = frozenset({"waiting_share", "pressure_share", "others_cpus", "switches_per_s"})
# A session pauses after this many attempts in a row that were refused for the same figure.
REFUSED_IN_A_ROW = 3
# The longest time that all pauses of a session take together.
MAX_TOTAL_S = 60.0
# The time over which the pressure is measured.
INTERVAL_S = 1.0
READ_TIMEOUT_S = 10.0


def read_pressure_us(transport: DeviceTransport) -> int | None:
    """Return the time since the device's boot in which some task waited for a processor (PSI), or None if unknown."""
    try:
        code, output = transport.run(["cat", "/proc/pressure/cpu"], READ_TIMEOUT_S)
    except DeviceError:
        return None
    total = output.partition("\n")[0].rpartition("total=")[2].strip()
    return int(total) if code == 0 and total.isdigit() else None


class BusyPause:
    """The pauses of one session.

    `read_us` returns the time in which tasks waited for a processor, or None if it is unknown. `limit` is the share of
    time up to which the device counts as quiet. `clock` and `sleep` count seconds.
    """

    def __init__(
        self,
        read_us: Callable[[], int | None],
        limit: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read_us = read_us
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._left_s = MAX_TOTAL_S
        self._refused = 0
        self._shared: frozenset[str] = frozenset()

    def observe(self, exceeded: Collection[str]) -> None:
        """Take note of an attempt by the names of the figures for which it was refused, none for any other attempt."""
        busy = BUSY_FIGURES.intersection(exceeded)
        shared = self._shared & busy
        self._refused = self._refused + 1 if shared else min(1, len(busy))
        self._shared = shared or busy

    def wait_until_quiet(self) -> None:
        """Wait if the last attempts were all refused for the same figure and the device is still busy."""
        if self._refused < REFUSED_IN_A_ROW or self._left_s < INTERVAL_S:
            return
        self._refused = 0
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
        """Measure the pressure for INTERVAL_S. A device that does not report it counts as quiet."""
        before_us, begin_s = self._read_us(), self._clock()
        if before_us is None:
            return False
        self._sleep(INTERVAL_S)
        after_us = self._read_us()
        if after_us is None:
            return False
        return (after_us - before_us) / 1e6 / (self._clock() - begin_s) > self._limit
