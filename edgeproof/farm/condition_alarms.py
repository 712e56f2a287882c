"""Alarms about a night's conditions: cells that are missing, and devices that changed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from edgeproof.farm.alarm_details import FingerprintDetails, MissingDetails
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.expected_cells import read_expected_cells
from edgeproof.farm.history import History, HistoryCell
from edgeproof.farm.level_changes import MAX_CHANGE_CHARACTERS, format_change
from edgeproof.records.conditions import list_differences

MAX_SHOWN_CHANGES = 8


def find_missing_cells(history: History, run: str) -> Iterator[Alarm]:
    """Yield an alarm for every cell that was measured before and should have been measured on this night but was not.

    Without the run's parameters, a cell counts as expected if the night before has it.
    """
    study = next(night.study for night in history.runs if night.name == run)
    runs = history.list_runs(study, until=run)
    expected = read_expected_cells(run)
    for cell, nights in history.cells.items():
        if cell.study != study or (expected is not None and cell not in expected):
            continue
        measured = [night.run for night in history.list_measured(cell, until=run)]
        if not measured or measured[-1] == run or (expected is None and measured[-1] != runs[-2]):
            continue
        reason = f"refused: {'; '.join(nights[run].reasons)}" if run in nights else "no record"
        message = f"{reason} (last measured on {measured[-1]})"
        yield Alarm("missing", run, str(cell), message, MissingDetails(measured[-1]))


def find_changed_devices(history: History, run: str) -> Iterator[Alarm]:
    """Yield an alarm for every device whose fingerprint, software or settings changed since its previous night."""
    changes: defaultdict[str, dict[str, None]] = defaultdict(dict)
    moved: defaultdict[str, dict[HistoryCell, float]] = defaultdict(dict)
    for (device, _), by_run in history.fingerprints.items():
        nights = [night.name for night in history.runs if night.name in by_run]
        if run in nights and (index := nights.index(run)) > 0:
            changes[device].update(dict.fromkeys(list_differences(by_run[nights[index - 1]], by_run[run])))
    for cell in history.cells:
        measured = history.list_measured(cell, until=run)
        if len(measured) < 2 or measured[-1].run != run:
            continue
        previous, tonight = measured[-2:]
        if differences := list_differences(previous.conditions, tonight.conditions):
            changes[cell.device].update(dict.fromkeys(differences))
            moved[cell.device][cell] = math.exp(tonight.log_duration - previous.log_duration)
    for device, lines in changes.items():
        if lines:
            message = f"{_summarize(list(lines))}{_describe_largest_move(moved[device])}"
            ratios = {str(cell): ratio for cell, ratio in moved[device].items()}
            yield Alarm("fingerprint", run, device, message, FingerprintDetails(list(lines), ratios))


def _summarize(changes: list[str]) -> str:
    text = "; ".join(line[:MAX_CHANGE_CHARACTERS] for line in changes[:MAX_SHOWN_CHANGES])
    return f"{text}; and {len(changes) - MAX_SHOWN_CHANGES} more" if len(changes) > MAX_SHOWN_CHANGES else text


def _describe_largest_move(moved: Mapping[HistoryCell, float]) -> str:
    """Describe the cell whose duration moved most. This is not a verdict, because its conditions changed."""
    if not moved:
        return ""
    cell, ratio = max(moved.items(), key=lambda item: abs(math.log(item[1])))
    return f". {len(moved)} cell(s) start a new series; {cell} moved most, {format_change(ratio)} than the night before"
