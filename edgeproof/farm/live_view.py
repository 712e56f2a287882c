"""What a run's devices are doing: on a terminal a table that is kept current, with what is done and about how long is
left.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from types import TracebackType

import rich.console
import rich.live
import rich.table
import rich.text

MAX_SHOWN_DEVICES = 20
ALL_DEVICES = ""  # no device has an empty name


class LiveView:
    """Hears when a job starts and how it ends. Devices work side by side: the slowest decides how long is left."""

    def __init__(
        self,
        jobs: Mapping[str, str],
        console: rich.console.Console | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._clock_s = jobs, clock_s
        self._asked = Counter(jobs.values())
        self._ended: Counter[str] = Counter()
        self._running: dict[str, tuple[str, float]] = {}
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self._timed: Counter[str] = Counter()
        self._told: tuple[float, str] | None = None
        self._lock = threading.Lock()
        self._console = console or rich.console.Console(file=sys.stderr)
        self._live = rich.live.Live(
            console=self._console, get_renderable=self._table, refresh_per_second=1, transient=True
        )

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def start_job(self, job: str) -> None:
        """A job begins on its device, perhaps not for the first time."""
        with self._lock:
            self._running[self._jobs[job]] = job, self._clock_s()

    def end_job(self, job: str) -> None:
        """A job is over, however it ended; one that never started was finished before."""
        device = self._jobs[job]
        with self._lock:
            self._ended[device] += 1
            running = self._running.pop(device, None)
            if running is not None:
                for of in (device, ALL_DEVICES):
                    self._spent_s[of] += self._clock_s() - running[1]
                    self._timed[of] += 1

    def estimate_left(self) -> str:
        """', about 3:10 left', or nothing while nobody knows; looked at once a second, since devices may be many."""
        with self._lock:
            now_s = self._clock_s()
            if self._told is None or now_s - self._told[0] >= 1:
                known = [seconds for device in self._asked if (seconds := self._left_s(device)) is not None]
                self._told = now_s, f", about {_format_duration(max(known))} left" if known and max(known) > 0 else ""
            return self._told[1]

    def _left_s(self, device: str) -> float | None:
        """From the device's own mean duration, from everyone's while it has none."""
        waiting = self._asked[device] - self._ended[device]
        if waiting == 0:
            return 0.0
        of = device if self._timed[device] else ALL_DEVICES
        if not self._timed[of]:
            return None
        mean_s = self._spent_s[of] / self._timed[of]
        spent_s = self._clock_s() - self._running[device][1] if device in self._running else 0.0
        return max(0.0, mean_s - spent_s) + (waiting - 1) * mean_s

    def _table(self) -> rich.table.Table:
        table = rich.table.Table(box=None, pad_edge=False)
        for column in ("  device", "running", "for", "done", "left"):
            table.add_column(column)
        with self._lock:
            busy = sorted(self._running)
            rows = [(device, *self._running[device], self._left_s(device)) for device in busy[:MAX_SHOWN_DEVICES]]
            ended = dict(self._ended)
        for device, job, began_s, left_s in rows:
            cells = (
                f"  {device}",
                job,
                _format_duration(self._clock_s() - began_s),
                f"{ended.get(device, 0)} of {self._asked[device]}",
                "" if left_s is None else _format_duration(left_s),
            )
            table.add_row(*map(rich.text.Text, cells))  # plain text: a name is no markup
        more = f"  and {len(busy) - MAX_SHOWN_DEVICES} more devices; " if len(busy) > MAX_SHOWN_DEVICES else "  "
        table.add_row(rich.text.Text(f"{more}{sum(ended.values())} of {len(self._jobs)} jobs done{self.estimate_left()}"))
        return table


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
