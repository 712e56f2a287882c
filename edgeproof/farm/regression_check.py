"""A night's check: what is missing, what changed of the devices, and which cells got slower, confirmed by an A/B.

Only the night itself is judged, by what was known then: a check that is repeated finds what it found before, and tries
again only what could not be confirmed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproof.core.errors import UnknownNameError
from edgeproof.farm import ab_test, alarms, artifact_cache, history
from edgeproof.farm.ab_test import ABTestError, ABTestRunner, Suspicion
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.history import History, HistoryCell, NightResult
from edgeproof.records.conditions import list_differences
from edgeproof.statistics.comparison import Comparison
from edgeproof.statistics.cusum import EXCLUDED_LATEST_NIGHTS, MIN_BASELINE_NIGHTS, Change, MonitoredSeries
from edgeproof.statistics.segmentation import SMALLEST_STEP

MAX_SHOWN_CHANGES = 8
MAX_CHANGE_CHARACTERS = 160


@dataclass(frozen=True)
class CheckResult:
    """What a night's check has found; `unjudged` are cells measured on too few nights alike."""

    run: str
    alarms: Sequence[Alarm]
    faster: Sequence[str]
    unjudged: Sequence[HistoryCell]
    damaged: Sequence[str]

    @property
    def is_clean(self) -> bool:
        """Whether nobody has to look."""
        return not self.damaged and not any(alarm.needs_attention for alarm in self.alarms)

    @property
    def summary(self) -> str:
        """One line."""
        counted = [
            f"{count} {kind}" for kind in alarms.KINDS if (count := sum(alarm.kind == kind for alarm in self.alarms))
        ]
        counted += [f"{len(self.damaged)} damaged record(s) left out"] if self.damaged else []
        waiting = f"; {len(self.unjudged)} cell(s) have fewer than {MIN_BASELINE_NIGHTS + 1} nights alike to be judged by"
        return f"check of {self.run}: {', '.join(counted) or 'nothing to report'}{waiting if self.unjudged else ''}"


def check(
    run: str | None, tell: Callable[[str], None] = lambda line: None, *, measure: ABTestRunner | None = None
) -> CheckResult:
    """Check a run, the latest where none is named, and store what was found. Raises EdgeproofError.

    Args:
        tell: hears each alarm as it is found: an A/B takes minutes.
        measure: how an A/B is run, as a process of its own where left out.
    """
    told = history.read()
    names = [night.name for night in told.runs]
    if run is not None and run not in names:
        raise UnknownNameError("run", run, names, "'edgeproof farm run' makes one.")
    run = run or names[-1]
    found: list[Alarm] = []
    for alarm in [*_find_changed_devices(told, run), *_find_missing(told, run)]:
        found.append(alarms.write_once(alarm))
        tell(str(found[-1]))
    faster, unjudged = [], []
    for cell, segment, watched in _find_level_changes(told, run):
        if not watched.has_baseline:
            unjudged.append(cell)
        for change in watched.changes:
            if change.detected == len(segment) - 1 and change.ratio < 1:
                faster.append(f"{cell}: {_format_percent(change.ratio)} since {segment[change.index].run}")
            elif change.detected == len(segment) - 1:
                found.append(_confirm(_make_suspicion(cell, segment, change), told, measure))
                tell(str(found[-1]))
    artifact_cache.prune(_list_recent_artifacts(told))
    return CheckResult(run, found, faster, unjudged, told.damaged)


# --- missing, and changed ------------------------------------------------------------------------------------------


def _find_missing(told: History, run: str) -> Iterator[Alarm]:
    """Cells that were measured on the night before and were to be, but were not."""
    study = next(night.study for night in told.runs if night.name == run)
    nights = told.list_runs(study, until=run)
    asked = history.read_expected_cells(run)
    for cell, found in told.cells.items():
        if cell.study != study or (asked is not None and cell not in asked) or (run in found and found[run].log_durations):
            continue
        before = [night for night in nights[:-1] if night in found and found[night].log_durations]
        # Whoever doesn't know what was asked for can only say what was there the night before.
        if not before or (asked is None and before[-1] != nights[-2]):
            continue
        why = f"refused: {'; '.join(found[run].reasons)}" if run in found else "no record"
        yield Alarm("missing", run, str(cell), f"{why} (measured last on {before[-1]})", {"last": before[-1]})


def _find_changed_devices(told: History, run: str) -> Iterator[Alarm]:
    """Devices whose fingerprint, software or settings are not those of the night before that they took part in."""
    lines: dict[str, dict[str, None]] = {}
    moved: dict[str, dict[HistoryCell, float]] = {}
    for (device, _), by_run in told.fingerprints.items():
        before = [night.name for night in told.runs if night.name in by_run]
        if run in before and (place := before.index(run)) > 0:
            lines.setdefault(device, {}).update(dict.fromkeys(list_differences(by_run[before[place - 1]], by_run[run])))
    for cell, night, last in _pair_with_previous_night(told, run):
        if differing := list_differences(last.conditions, night.conditions):
            lines.setdefault(cell.device, {}).update(dict.fromkeys(differing))
            moved.setdefault(cell.device, {})[cell] = math.exp(night.value - last.value)
    for device, changed in lines.items():
        if changed:
            text = "; ".join(line[:MAX_CHANGE_CHARACTERS] for line in list(changed)[:MAX_SHOWN_CHANGES])
            more = f"; and {len(changed) - MAX_SHOWN_CHANGES} more" if len(changed) > MAX_SHOWN_CHANGES else ""
            cells = moved.get(device, {})
            details = {"changes": list(changed), "moved": {str(cell): ratio for cell, ratio in cells.items()}}
            yield Alarm("fingerprint", run, device, f"{text}{more}{_describe_largest_move(cells)}", details)


def _pair_with_previous_night(told: History, run: str) -> Iterator[tuple[HistoryCell, NightResult, NightResult]]:
    """Every cell that was measured on the night, with the night on which it was measured before."""
    for cell in told.cells:
        measured = [night for segment in told.split_segments(cell, until=run) for night in segment]
        if len(measured) > 1 and measured[-1].run == run:
            yield cell, measured[-1], measured[-2]


def _describe_largest_move(moved: dict[HistoryCell, float]) -> str:
    """By how much cells whose conditions changed differ from the night before: no verdict, but not silent either."""
    if not moved:
        return ""
    cell, ratio = max(moved.items(), key=lambda of: abs(math.log(of[1])))
    return f". {len(moved)} cell(s) begin a new series; most moved {cell}, {_format_percent(ratio)} since the night before"


# --- slower --------------------------------------------------------------------------------------------------------


def _find_level_changes(told: History, run: str) -> Iterator[tuple[HistoryCell, Sequence[NightResult], MonitoredSeries]]:
    """The cells that were measured on the night, with their nights alike up to it, and the changes seen in them."""
    for cell in told.cells:
        segments = told.split_segments(cell, until=run)
        if segments and segments[-1][-1].run == run:
            yield cell, segments[-1], told.find_changes(cell, segments[-1])


def _make_suspicion(cell: HistoryCell, segment: Sequence[NightResult], change: Change) -> Suspicion:
    return Suspicion(
        cell=cell,
        good=_find_last_good(segment, change.index),
        suspect=segment[-1],
        since=segment[change.index].run,
        ratio=change.ratio,
    )


def _find_last_good(segment: Sequence[NightResult], place: int) -> NightResult:
    """The last night before a step; where a step's place is, is known to some nights, so one of other bytes if any."""
    before = segment[max(0, place - EXCLUDED_LATEST_NIGHTS) : place]
    others = [night for night in before if night.artifact != segment[-1].artifact]
    return (others or before)[-1]


def _confirm(suspicion: Suspicion, told: History, measure: ABTestRunner | None) -> Alarm:
    """What became of a suspicion: as it was written before, unless that was for want of an A/B."""
    run, subject = suspicion.suspect.run, str(suspicion.cell)
    before = alarms.find_latest(run, subject)
    if before is not None and before.kind not in ("unconfirmed", "missing"):
        return before
    slower = f"{_format_percent(suspicion.ratio)} since {suspicion.since}"
    changed = _list_other_changes(suspicion, told)
    details: dict[str, Any] = {
        "ratio": suspicion.ratio,
        "since": suspicion.since,
        "good": {"run": suspicion.good.run, "artifact": suspicion.good.artifact},
        "suspect": {"run": run, "artifact": suspicion.suspect.artifact},
        "changed": changed,
    }
    if suspicion.good.artifact == suspicion.suspect.artifact:
        else_ = "; ".join(changed) or "nothing else that is recorded"
        text = f"{slower}, with the same bytes ({suspicion.good.artifact[:12]}…): no A/B can show it. Changed: {else_}"
        return alarms.write(Alarm("conditions", run, subject, text, details))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "records")
        try:
            comparison = ab_test.run_ab_test(suspicion, out, measure)
        except ABTestError as error:
            text = f"{slower}, suspected; could not be confirmed: {error}"
            if before is not None and before.message == text:
                return before
            return alarms.write(Alarm("unconfirmed", run, subject, text, details))
        return alarms.write(_make_alarm(suspicion, comparison, slower, details), out)


def _make_alarm(suspicion: Suspicion, comparison: Comparison, slower: str, details: Mapping[str, Any]) -> Alarm:
    run, subject = suspicion.suspect.run, str(suspicion.cell)
    ratio = comparison.ratio
    made = (
        f"A/B of {suspicion.suspect.artifact[:12]}… against {suspicion.good.artifact[:12]}… ({suspicion.good.run}), "
        f"{comparison.processes[0]} rounds: {ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}], "
        f"p {comparison.p_value:.2g}"
    )
    details = {**details, "comparison": _finite(asdict(comparison))}
    if comparison.verdict == "slower":
        return Alarm("regression", run, subject, f"{slower}. {made}", details)
    beyond = f"not shown to be slower by more than {SMALLEST_STEP:.0%}"
    return Alarm("not confirmed", run, subject, f"{slower}, suspected; {made}: {beyond}", details)


def _list_other_changes(suspicion: Suspicion, told: History) -> list[str]:
    """What the records tell to have changed between the two nights beside the artifact."""
    good, suspect, key = suspicion.good, suspicion.suspect, (suspicion.cell.device, suspicion.cell.runtime)
    prints = told.fingerprints.get(key, {})
    before = {"runner": good.runner, "commit": good.commit, **prints.get(good.run, {})}
    after = {"runner": suspect.runner, "commit": suspect.commit, **prints.get(suspect.run, {})}
    return [line[:MAX_CHANGE_CHARACTERS] for line in list_differences(before, after)]


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(of) for of in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _format_percent(ratio: float) -> str:
    return f"{abs(ratio - 1):.1%} {'slower' if ratio > 1 else 'faster'}"


# --- what stays ---------------------------------------------------------------------------------------------------


def _list_recent_artifacts(told: History) -> Iterator[tuple[str, str]]:
    """The artifacts of every cell's latest nights."""
    for cell, nights in told.cells.items():
        for run in [name for name in told.list_runs(cell.study) if name in nights][-artifact_cache.KEPT_NIGHTS :]:
            yield nights[run].artifact, cell.scheme
