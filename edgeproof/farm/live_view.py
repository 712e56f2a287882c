"""The live view of a farm's run: on a terminal, a table of the busy devices, the jobs done and the time left."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import rich.console
import rich.live
import rich.table
import rich.text

from edgeproof.study import durations

MAX_SHOWN_DEVICES = 20
ESTIMATE_INTERVAL_S = 1.0
ALL_DEVICES = ""  # no device has an empty name


@dataclass(frozen=True)
class RunningJob:
    """A job that runs, and the clock's time at its start."""

    name: str
    started_s: float


class LiveView:
    """Shows the run and estimates the time left. Devices work in parallel, so the slowest one decides."""

    def __init__(
        self,
        jobs: Mapping[str, str],
        console: rich.console.Console | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a view of `jobs`, which maps each job to its device."""
        self._jobs, self._clock_s = jobs, clock_s
        self._totals = Counter(jobs.values())
        self._ended: Counter[str] = Counter()
        self._running: dict[str, RunningJob] = {}
        # Of each device and of all devices together: the time of all timed jobs, and their number.
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self._timed: Counter[str] = Counter()
        self._estimated_s, self._estimate = -ESTIMATE_INTERVAL_S, ""
        self._lock = threading.Lock()
        self._console = console or rich.console.Console(file=sys.stderr)
        self._live = rich.live.Live(
            console=self._console, get_renderable=self._make_table, refresh_per_second=1, transient=True
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
        """Note that a job starts on its device, possibly not for the first time."""
        with self._lock:
            self._running[self._jobs[job]] = RunningJob(job, self._clock_s())

    def end_job(self, job: str) -> None:
        """Note that a job has ended, with or without success. A job that never started was finished before."""
        device = self._jobs[job]
        with self._lock:
            self._ended[device] += 1
            running = self._running.pop(device, None)
            if running is not None:
                for key in (device, ALL_DEVICES):
                    self._spent_s[key] += self._clock_s() - running.started_s
                    self._timed[key] += 1

    def format_time_left(self) -> str:
        """Return ', about 3:10 left', or '' before the first job has ended.

        With many devices the estimate is slow, so it is reused for a second.
        """
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._estimated_s >= ESTIMATE_INTERVAL_S:
                known_s = [left_s for device in self._totals if (left_s := self._estimate_left_s(device)) is not None]
                left_s = max(known_s, default=0.0)
                self._estimated_s = now_s
                self._estimate = f", about {durations.format_duration(left_s)} left" if left_s > 0 else ""
            return self._estimate

    def _estimate_left_s(self, device: str) -> float | None:
        """Estimate from the device's mean duration, or from that of all devices while it has none."""
        left = self._totals[device] - self._ended[device]
        if left == 0:
            return 0.0
        key = device if self._timed[device] else ALL_DEVICES
        if not self._timed[key]:
            return None
        mean_s = self._spent_s[key] / self._timed[key]
        spent_s = self._clock_s() - self._running[device].started_s if device in self._running else 0.0
        return max(0.0, mean_s - spent_s) + (left - 1) * mean_s

    def _make_table(self) -> rich.table.Table:
        table = rich.table.Table(box=None, pad_edge=False)
        for column in ("  device", "running", "for", "done", "left"):
            table.add_column(column)
        with self._lock:
            busy = sorted(self._running)
            rows = [
                (device, self._running[device], self._estimate_left_s(device)) for device in busy[:MAX_SHOWN_DEVICES]
            ]
            ended = dict(self._ended)
        for device, job, left_s in rows:
            cells = (
                f"  {device}",
                job.name,
                durations.format_duration(self._clock_s() - job.started_s),
                f"{ended.get(device, 0)} of {self._totals[device]}",
                "" if left_s is None else durations.format_duration(left_s),
            )
            table.add_row(*map(rich.text.Text, cells))  # as plain text: names may look like rich's markup
        more = f"  and {len(busy) - MAX_SHOWN_DEVICES} more devices; " if len(busy) > MAX_SHOWN_DEVICES else "  "
        done = f"{sum(ended.values())} of {len(self._jobs)} jobs done{self.format_time_left()}"
        table.add_row(rich.text.Text(more + done))
        return table
