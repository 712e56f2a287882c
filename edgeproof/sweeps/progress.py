"""How far a sweep is: points done, running, cached, failed, left, and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgeproof.study import plan, repro
from edgeproof.sweeps.store import Store, axes, label

# A point's own cost: its process, its worktree, DVC.
POINT_S = 3.0


class Progress:
    """Prints a line a point. The estimate counts each stage once, however many points share it."""

    def __init__(self, store: Store, plans: Mapping[str, Mapping[str, str]], todo: Sequence[str], workers: int) -> None:
        self._store = store
        self._plans = plans
        self._todo = list(todo)
        self._workers = workers
        self._begun = time.monotonic()
        self._begun_at: dict[str, float] = {}
        points = store.asked().points
        self._labels = {point.digest: label(point, axes(points)) for point in points}
        self._durations = repro.read_durations()
        self._lines_before = len(store.journal())
        print(f"{len(todo)} point(s) to run, {self._estimate()}.", flush=True)

    def build(self, digest: str, event: str, running: Sequence[str]) -> None:
        """A point's builds begin or ended."""
        self._tell(digest, event, running, "built")

    def point(self, digest: str, event: str, running: Sequence[str]) -> None:
        """A point begins or ended."""
        self._tell(digest, event, running, "done")

    def _tell(self, digest: str, event: str, running: Sequence[str], well: str) -> None:
        if event == "begins":
            self._begun_at[digest] = time.monotonic()
            return
        failure = self._store.failure(digest)
        what = well if failure is None else f"{self._store.status(digest)}: {failure['reason']}"
        seconds = time.monotonic() - self._begun_at[digest]
        stages = {line["stage"]: line["outcome"] for line in self._lines() if line["point"] == digest}
        ran = [stage for stage, outcome in stages.items() if outcome == "ran"]
        print(
            f"[{self._labels[digest]}] {what} in {repro.clock(seconds)}, {len(ran)} of {len(stages)} stages ran; "
            f"{self._counts(running)}; {repro.clock(time.monotonic() - self._begun)} passed, {self._estimate()}",
            flush=True,
        )

    def _counts(self, running: Sequence[str]) -> str:
        statuses = [self._store.status(digest) for digest in self._plans]
        ran = {line["point"] for line in self._lines() if line["outcome"] == "ran"}
        cached = [digest for digest in self._plans if self._store.status(digest) == "finished" and digest not in ran]
        left = statuses.count("waiting") - len(running)
        return (
            f"{statuses.count('finished')} of {len(statuses)} done ({len(cached)} all from the cache), "
            f"{len(running)} running, {statuses.count('failed')} failed, {left} left"
        )

    def _estimate(self) -> str:
        """How long what is left may take."""
        waiting = [digest for digest in self._todo if self._store.status(digest) == "waiting"]
        lines = self._lines()
        made = {
            (line["stage"], self._plans[line["point"]][line["stage"]]) for line in lines if line["point"] in self._plans
        }
        took = {line["stage"]: line["seconds"] for line in lines if line["outcome"] == "ran"}
        left = {pair for digest in waiting for pair in self._plans[digest].items()} - made
        seconds = {pair: took.get(pair[0], repro.estimate_s(self._durations, pair[0])) for pair in left}
        builds = sum(seconds[pair] for pair in left if plan.is_build(pair[0]))
        measures = sum(seconds.values()) - builds
        return f"about {repro.clock(builds / self._workers + measures + POINT_S * len(waiting))} left"

    def _lines(self) -> list[dict[str, Any]]:
        """What the journal says since this command began."""
        return self._store.journal()[self._lines_before :]
