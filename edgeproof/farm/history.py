"""The history of a farm: the results of every cell, night by night.

A cell is an artifact on a device in a scenario. A night is one run of a study on the farm. On each night of its study a
cell was measured, refused, missing, or not requested.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.statistics import cusum, percentiles
from edgeproof.statistics.cusum import MonitoredSeries
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.percentiles import LogPercentile

# The figure that is monitored in each LoadGen scenario. All are durations, so more is slower.
FIGURE_NAMES = {
    SINGLE_STREAM: "median inference",
    MULTI_STREAM: "99% of queries",
    OFFLINE: "time per sample",
    SERVER: "time per completed sample",
}


@dataclass(frozen=True, order=True)
class HistoryCell:
    """An artifact on a device in a scenario."""

    study: str
    device: str
    runtime: str
    model: str
    scheme: str
    scenario: str

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}/{self.model}/{self.scheme} {self.scenario}"


@dataclass(frozen=True)
class NightResult:
    """The result of a cell on one night.

    Attributes:
        run: name of the night.
        log_durations: natural logarithm of the figure in ns for each process whose last attempt is valid.
        processes: number of all processes.
        reasons: why processes were refused.
        artifact: sha256 of the artifact.
        conditions: the conditions and the runtime's versions. They are equal within a segment.
        runner, commit: version of the harness.
        loadgen_scenario: the scenario that LoadGen ran, if a process ran at all.
    """

    run: str
    log_durations: Sequence[LogPercentile]
    processes: int
    reasons: Sequence[str]
    artifact: str
    conditions: Mapping[str, Any]
    runner: str | None
    commit: str | None
    loadgen_scenario: str | None

    @property
    def was_measured(self) -> bool:
        """True if at least one process is valid."""
        return bool(self.log_durations)

    @property
    def was_refused(self) -> bool:
        """True if no process is valid and a reason is known. An emulated device is neither refused nor timed."""
        return not self.was_measured and bool(self.reasons)

    @property
    def log_duration(self) -> float:
        """The night's value as one natural logarithm of ns. Raises ValueError without a valid process."""
        return cusum.summarize_night([log.value for log in self.log_durations])

    @property
    def estimate_ns(self) -> Estimate | None:
        """The geometric mean of the processes in ns, with its interval."""
        return percentiles.combine_processes(self.log_durations)


@dataclass(frozen=True)
class HistoryRun:
    """A night: its name, the time of its first record in ISO 8601, and its study."""

    name: str
    started_at: str
    study: str


@dataclass(frozen=True)
class History:
    """All nights of a farm.

    Attributes:
        runs: the nights, the oldest first.
        cells: for each cell its results by run.
        fingerprints: for each (device, runtime) its fingerprint by run.
        damaged: a line for each record that could not be read.
    """

    runs: Sequence[HistoryRun]
    cells: Mapping[HistoryCell, Mapping[str, NightResult]]
    fingerprints: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]
    damaged: Sequence[str]

    def list_runs(self, study: str, *, until: str | None = None) -> list[str]:
        """Return the names of a study's runs in order, up to and including `until`."""
        names = [run.name for run in self.runs if run.study == study]
        return names[: names.index(until) + 1] if until in names else names

    def list_measured(self, cell: HistoryCell, *, until: str | None = None) -> list[NightResult]:
        """Return the nights on which a cell was measured, in order."""
        results = self.cells[cell]
        runs = self.list_runs(cell.study, until=until)
        return [results[run] for run in runs if run in results and results[run].was_measured]

    def split_segments(self, cell: HistoryCell, *, until: str | None = None) -> list[list[NightResult]]:
        """Return the nights on which a cell was measured, split wherever its conditions change."""
        nights = self.list_measured(cell, until=until)
        return [list(group) for _, group in itertools.groupby(nights, key=lambda night: night.conditions)]

    def find_changes(self, cell: HistoryCell, segment: Sequence[NightResult]) -> MonitoredSeries:
        """Return the change points within a segment."""
        series = [night.log_duration for night in segment]
        return cusum.monitor_series(series, cells=self._cells_per_device[cell.device])

    @functools.cached_property
    def _cells_per_device(self) -> Counter[str]:
        return Counter(cell.device for cell in self.cells)
