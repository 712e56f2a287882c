"""Check a night: find missing cells, changed devices, and cells that got slower, and write their alarms.

A check uses only the records that existed when the night ended. So a repeated check gives the same alarms, and
repeats only the A/B tests that could not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeproof.core.errors import UnknownNameError
from edgeproof.farm import alarms, artifact_cache, condition_alarms, level_changes
from edgeproof.farm.ab_test import ABTestRunner
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.history import History, HistoryCell
from edgeproof.farm.history_reader import read_history
from edgeproof.statistics.cusum import MIN_BASELINE_NIGHTS


@dataclass(frozen=True)
class CheckResult:
    """Result of a night's check.

    Attributes:
        alarms: all alarms of the night.
        faster: a line for each cell that got faster.
        unjudged: cells that were measured on too few nights under the same conditions.
        recorded, refused: the numbers of cells with records of this night, and of those without a valid one.
        damaged: a line for each record, alarm or event that could not be read.
    """

    run: str
    alarms: Sequence[Alarm]
    faster: Sequence[str]
    unjudged: Sequence[HistoryCell]
    recorded: int
    refused: int
    damaged: Sequence[str]

    @property
    def is_clean(self) -> bool:
        """True if nothing in the night needs attention."""
        measured_nothing = self.recorded == self.refused
        return not (measured_nothing or self.damaged or any(alarm.needs_attention for alarm in self.alarms))

    @property
    def summary(self) -> str:
        """The result in one line."""
        counts = [
            f"{count} {kind}" for kind in alarms.KINDS if (count := sum(alarm.kind == kind for alarm in self.alarms))
        ]
        if self.recorded == 0:
            counts.append("no cell has a record")
        elif self.refused:
            counts.append(f"{self.refused} of {self.recorded} cell(s) refused, see 'edgeproof farm history'")
        counts += [f"{len(self.damaged)} damaged record(s) or event(s) skipped"] if self.damaged else []
        unjudged = (
            f"; {len(self.unjudged)} cell(s) have fewer than the {MIN_BASELINE_NIGHTS + 1} nights under the same "
            "conditions that monitoring needs"
        )
        return f"check of {self.run}: {', '.join(counts) or 'nothing to report'}{unjudged if self.unjudged else ''}"


def check(
    run: str | None, report: Callable[[str], None] = lambda line: None, *, ab_test_runner: ABTestRunner | None = None
) -> CheckResult:
    """Check a run, by default the latest, and write its alarms.

    Args:
        report: called with each alarm as text when it is found, since an A/B test takes minutes.
        ab_test_runner: runs an A/B test. By default it runs as a process of its own.

    Raises UnknownNameError when there is no such run, and EdgeproofError when there is no history.
    """
    history = read_history()
    names = [night.name for night in history.runs]
    if run is not None and run not in names:
        raise UnknownNameError("run", run, names, "'edgeproof farm run' makes one.")
    run = run or names[-1]
    night_alarms: list[Alarm] = []

    def add(alarm: Alarm) -> None:
        night_alarms.append(alarm)
        report(str(alarm))

    for alarm in condition_alarms.find_changed_devices(history, run):
        add(alarms.write_once(alarm))
    for alarm in condition_alarms.find_missing_cells(history, run):
        add(alarms.write_once(alarm))
    changes = level_changes.find_level_changes(history, run)
    for change in changes.slower:
        add(level_changes.confirm(level_changes.make_suspicion(change), history, ab_test_runner))
    artifact_cache.prune(_list_recent_artifacts(history))
    faster = [str(change) for change in changes.faster]
    results = [nights[run] for nights in history.cells.values() if run in nights]
    refused = sum(result.was_refused for result in results)
    damaged = [*history.damaged, *alarms.list_damaged(run)]
    return CheckResult(run, night_alarms, faster, changes.unjudged, len(results), refused, damaged)


def _list_recent_artifacts(history: History) -> Iterator[tuple[str, str]]:
    """Yield the sha256 and the scheme of the artifacts of every cell's latest nights."""
    for cell, nights in history.cells.items():
        for run in [name for name in history.list_runs(cell.study) if name in nights][-artifact_cache.KEPT_NIGHTS :]:
            yield nights[run].artifact, cell.scheme
