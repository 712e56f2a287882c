"""Report a sweep's progress: points done, running, cached, failed and left, with an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from edgeproof.study import durations, plan
from edgeproof.sweeps.local_executor import PointEvent
from edgeproof.sweeps.outcomes import JournalEntry, PointStatus
from edgeproof.sweeps.points import find_axes, format_label
from edgeproof.sweeps.store import SweepStore

# A point's own cost: its process, its worktree, DVC.
POINT_OVERHEAD_S = 3.0


class SweepProgress:
    """Prints one line when a point ends. The estimate counts each stage once, even if several points share it."""

    def __init__(
        self,
        store: SweepStore,
        plans: Mapping[str, Mapping[str, str]],
        todo: Sequence[str],
        workers: int,
        *,
        trains_only: bool = False,
    ) -> None:
        """Print the first estimate.

        Args:
            plans: each point's stages with their digests, by the point's digest.
            todo: digests of the points to run.
            workers: how many points are built in parallel.
            trains_only: whether a point is done when its models are trained.
        """
        self._trains_only = trains_only
        self._store = store
        self._plans = plans
        self._todo = list(todo)
        self._workers = workers
        self._started_s = time.monotonic()
        self._point_started_s: dict[str, float] = {}
        request = store.read_request()
        axes = find_axes(request)
        self._labels = {point.digest: format_label(point, axes) for point in request.points}
        self._durations = durations.read_durations()
        self._earlier_entries = len(store.read_journal())
        print(f"{len(todo)} point(s) to run, {self._estimate()}.", flush=True)

    def report_build(self, digest: str, event: PointEvent, running: Sequence[str]) -> None:
        """Note that the builds of a point have started, or print how they ended."""
        self._report(digest, event, running, "built")

    def report_training(self, digest: str, event: PointEvent, running: Sequence[str]) -> None:
        """Note that the trainings of a point have started, or print how they ended."""
        self._report(digest, event, running, "trained")

    def report_point(self, digest: str, event: PointEvent, running: Sequence[str]) -> None:
        """Note that a point has started, or print how it ended."""
        self._report(digest, event, running, "done")

    def _report(self, digest: str, event: PointEvent, running: Sequence[str], success: str) -> None:
        if event == "started":
            self._point_started_s[digest] = time.monotonic()
            return
        failure = self._store.read_failure(digest)
        result = success if failure is None else f"{self._store.read_status(digest)}: {failure.reason}"
        duration_s = time.monotonic() - self._point_started_s[digest]
        outcomes = {entry.stage: entry.outcome for entry in self._new_entries() if entry.point == digest}
        ran = [stage for stage, outcome in outcomes.items() if outcome == "ran"]
        print(
            f"[{self._labels[digest]}] {result} in {durations.format_duration(duration_s)}, "
            f"{len(ran)} of {len(outcomes)} stages ran; {self._count_points(running)}; "
            f"{durations.format_duration(time.monotonic() - self._started_s)} passed, {self._estimate()}",
            flush=True,
        )

    def _count_points(self, running: Sequence[str]) -> str:
        statuses = {digest: self._read_status(digest) for digest in self._plans}
        counts = list(statuses.values())
        ran = {entry.point for entry in self._new_entries() if entry.outcome == "ran"}
        cached = [digest for digest, status in statuses.items() if status == "finished" and digest not in ran]
        return (
            f"{counts.count('finished')} of {len(counts)} done ({len(cached)} entirely from the cache), "
            f"{len(running)} running, {counts.count('failed')} failed, {counts.count('waiting') - len(running)} left"
        )

    def _estimate(self) -> str:
        """Describe the time left, from the durations of the same stages in this sweep or in earlier runs."""
        waiting = [digest for digest in self._todo if self._read_status(digest) == "waiting"]
        entries = self._new_entries()
        ended = {
            (entry.stage, self._plans[entry.point][entry.stage]) for entry in entries if entry.point in self._plans
        }
        durations_s = {entry.stage: entry.duration_s for entry in entries if entry.outcome == "ran"}
        left = {pair for digest in waiting for pair in self._plans[digest].items()} - ended
        left_s = {pair: durations_s.get(pair[0], durations.estimate_s(self._durations, pair[0])) for pair in left}
        builds_s = sum(left_s[pair] for pair in left if plan.is_build(pair[0]))
        measurements_s = sum(left_s.values()) - builds_s
        total_s = builds_s / self._workers + measurements_s + POINT_OVERHEAD_S * len(waiting)
        return f"about {durations.format_duration(total_s)} left"

    def _read_status(self, digest: str) -> PointStatus:
        if self._trains_only and self._store.read_trained(digest) is not None:
            return "finished"
        return self._store.read_status(digest)

    def _new_entries(self) -> list[JournalEntry]:
        """Return the journal's entries since this command started."""
        return self._store.read_journal()[self._earlier_entries :]
