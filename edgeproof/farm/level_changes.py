"""Changes of a cell's level that were detected on a night. A slowdown is a suspicion until an A/B test confirms it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeproof.farm import ab_test, alarms
from edgeproof.farm.ab_test import ABTestError, ABTestRunner, Suspicion
from edgeproof.farm.alarm_details import ArtifactNight, SlowdownDetails
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.history import History, HistoryCell, NightResult
from edgeproof.records.conditions import list_differences
from edgeproof.statistics.change_points import SMALLEST_STEP
from edgeproof.statistics.comparison import Comparison
from edgeproof.statistics.cusum import EXCLUDED_LATEST_NIGHTS

MAX_CHANGE_CHARACTERS = 160
# An earlier alarm of another kind is final.
UNSETTLED_KINDS = ("unconfirmed", "missing")


@dataclass(frozen=True)
class LevelChange:
    """A change of a cell's level, detected on the last night of its segment.

    Attributes:
        segment: the nights under the same conditions, up to the night of detection.
        index: the first night of the new level.
        ratio: the new level's duration divided by that of the old level.
    """

    cell: HistoryCell
    segment: Sequence[NightResult]
    index: int
    ratio: float

    def __str__(self) -> str:
        return f"{self.cell}: {format_change(self.ratio)} since {self.segment[self.index].run}"


@dataclass(frozen=True)
class LevelChanges:
    """All level changes that were detected on a night, and the cells with too few nights to detect any."""

    slower: Sequence[LevelChange]
    faster: Sequence[LevelChange]
    unjudged: Sequence[HistoryCell]


def find_level_changes(history: History, run: str) -> LevelChanges:
    """Find the level changes that are detected on a night, from the nights up to it."""
    changes, unjudged = [], []
    for cell in history.cells:
        segments = history.split_segments(cell, until=run)
        if not segments or segments[-1][-1].run != run:
            continue
        segment = segments[-1]
        series = history.find_changes(cell, segment)
        if not series.has_baseline:
            unjudged.append(cell)
        changes += [
            LevelChange(cell, segment, change.index, change.ratio)
            for change in series.changes
            if change.detected == len(segment) - 1
        ]
    slower = [change for change in changes if change.ratio >= 1]
    faster = [change for change in changes if change.ratio < 1]
    return LevelChanges(slower, faster, unjudged)


def make_suspicion(change: LevelChange) -> Suspicion:
    """Return the suspicion that the artifact of the last night is slower than the last good one."""
    return Suspicion(
        cell=change.cell,
        good=find_last_good(change.segment, change.index),
        suspect=change.segment[-1],
        since=change.segment[change.index].run,
        ratio=change.ratio,
    )


def find_last_good(segment: Sequence[NightResult], index: int) -> NightResult:
    """Return the last night before the level change at `index`.

    A change is located to within a few nights only. So a night whose artifact differs from the last night's is
    preferred.
    """
    before = segment[max(0, index - EXCLUDED_LATEST_NIGHTS) : index]
    others = [night for night in before if night.artifact != segment[-1].artifact]
    return (others or before)[-1]


def confirm(suspicion: Suspicion, history: History, runner: ABTestRunner | None) -> Alarm:
    """Run the A/B test of a suspicion, write its alarm and return it.

    If an earlier check of the night has settled the suspicion, return that alarm. If both nights have the same
    artifact, no A/B test can show a difference, and the alarm says so.
    """
    run, subject = suspicion.suspect.run, str(suspicion.cell)
    earlier = alarms.find_latest(run, subject)
    if earlier is not None and earlier.kind not in UNSETTLED_KINDS:
        return earlier
    slowdown = f"{format_change(suspicion.ratio)} since {suspicion.since}"
    details = _make_details(suspicion, history)
    good = suspicion.good.artifact
    if good == suspicion.suspect.artifact:
        changes = "; ".join(details.changes) or "nothing else that is recorded"
        message = f"{slowdown} with the same bytes ({good[:12]}…), so no A/B test can show it. Changed: {changes}"
        return alarms.write(Alarm("conditions", run, subject, message, details))
    with tempfile.TemporaryDirectory() as scratch:
        records = Path(scratch, "records")
        try:
            comparison = ab_test.run_ab_test(suspicion, records, runner)
        except ABTestError as error:
            message = f"{slowdown}, suspected; could not be confirmed: {error}"
            if earlier is not None and earlier.message == message:
                return earlier
            return alarms.write(Alarm("unconfirmed", run, subject, message, details))
        return alarms.write(_make_alarm(suspicion, comparison, slowdown, details), records)


def format_change(ratio: float) -> str:
    """Return a ratio of durations as '6.0% slower' or '6.0% faster'."""
    return f"{abs(ratio - 1):.1%} {'slower' if ratio > 1 else 'faster'}"


def _make_details(suspicion: Suspicion, history: History) -> SlowdownDetails:
    good, suspect = suspicion.good, suspicion.suspect
    fingerprints = history.fingerprints.get((suspicion.cell.device, suspicion.cell.runtime), {})
    before = {"runner": good.runner, "commit": good.commit, **fingerprints.get(good.run, {})}
    after = {"runner": suspect.runner, "commit": suspect.commit, **fingerprints.get(suspect.run, {})}
    return SlowdownDetails(
        ratio=suspicion.ratio,
        since=suspicion.since,
        good=ArtifactNight(good.run, good.artifact),
        suspect=ArtifactNight(suspect.run, suspect.artifact),
        changes=[line[:MAX_CHANGE_CHARACTERS] for line in list_differences(before, after)],
    )


def _make_alarm(suspicion: Suspicion, comparison: Comparison, slowdown: str, details: SlowdownDetails) -> Alarm:
    run, subject, ratio = suspicion.suspect.run, str(suspicion.cell), comparison.ratio
    result = (
        f"A/B test of {suspicion.suspect.artifact[:12]}… against {suspicion.good.artifact[:12]}… "
        f"({suspicion.good.run}), {comparison.processes[0]} rounds: "
        f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}], p {comparison.p_value:.2g}"
    )
    details = replace(details, comparison=comparison)
    if comparison.verdict == "slower":
        return Alarm("regression", run, subject, f"{slowdown}. {result}", details)
    message = f"{slowdown}, suspected; {result}: not shown to be slower by more than {SMALLEST_STEP:.0%}"
    return Alarm("not confirmed", run, subject, message, details)
