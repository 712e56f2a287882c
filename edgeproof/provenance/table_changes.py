"""Compare two tables cell by cell, as their intervals allow: quality, latency and size.

Tables hold estimates, not processes, so a difference is shown if its 95% interval lies on one side of zero, or that of
a ratio on one side of one. Times are compared under like conditions only, as `edgeproof compare` does. Under others, a
time is compared by its ratio to the reference that was measured in the same session.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeproof.records.conditions import add_versions, list_differences
from edgeproof.report.row import Row, RowKey
from edgeproof.report.row_data import describe_rows
from edgeproof.statistics.differences import subtract_estimates
from edgeproof.statistics.estimates import Estimate, divide_estimates

ChangeVerdict = Literal[
    "slower",
    "faster",
    "worse",
    "better",
    "larger",
    "smaller",
    "same",
    "no difference shown",
    "not compared",
]
NOT_COMPARED: Literal["not compared"] = "not compared"
NO_DIFFERENCE: Literal["no difference shown"] = "no difference shown"
UNKNOWN_CONDITIONS = "conditions: unknown on one side"


@dataclass(frozen=True)
class Change:
    """The change of one figure of a cell.

    Attributes:
        verdict: what the interval shows.
        value: the ratio of times (after / before), or the difference of qualities or sizes (after − before).
        reason: why the figure was not compared.
        is_relative: True for the ratio of two times that are relative to a reference each.
    """

    verdict: ChangeVerdict
    value: Estimate | None = None
    reason: str = ""
    is_relative: bool = False

    @property
    def is_shown(self) -> bool:
        """True if a difference is shown."""
        return self.verdict not in ("same", NO_DIFFERENCE, NOT_COMPARED)


@dataclass(frozen=True)
class CellChange:
    """A cell that both tables have and that differs between them.

    Attributes:
        before, after: its rows.
        unlike: the conditions that differ, each as 'key: before → after'.
        quality, time, size: the changes of its figures; None if neither row has the figure.
    """

    before: Row
    after: Row
    unlike: Sequence[str]
    quality: Change | None
    time: Change | None
    size: Change | None

    @property
    def is_shown(self) -> bool:
        """True if a difference of any figure is shown."""
        return any(change.is_shown for change in (self.quality, self.time, self.size) if change is not None)

    @property
    def has_same_artifact(self) -> bool:
        """True if both rows are of the same file: its times can differ by the session, not by the artifact."""
        return self.before.artifact_sha256 == self.after.artifact_sha256

    @property
    def has_other_verdict(self) -> bool:
        """True if the verdict of the cell differs."""
        return self.before.verdict != self.after.verdict


@dataclass(frozen=True)
class TableChanges:
    """The differences between two tables.

    Attributes:
        cells: the cells of both tables that differ, in the order of the table after.
        unchanged: the number of cells that are equal to the last digit: they were not measured again.
        new, gone: rows of cells that only one table has.
    """

    cells: Sequence[CellChange]
    unchanged: int
    new: Sequence[Row]
    gone: Sequence[Row]

    @property
    def is_empty(self) -> bool:
        """True if both tables are the same."""
        return not (self.cells or self.new or self.gone)


def compare_tables(before: Sequence[Row], after: Sequence[Row]) -> TableChanges:
    """Return the differences between two tables."""
    old, new = ({row.key: row for row in rows} for rows in (before, after))
    common = [key for key in new if key in old]
    differing = [key for key in common if _describe(old[key]) != _describe(new[key])]
    return TableChanges(
        cells=[_compare_rows(old[key], new[key]) for key in differing],
        unchanged=len(common) - len(differing),
        new=_select(new, old),
        gone=_select(old, new),
    )


def _select(rows: Mapping[RowKey, Row], others: Mapping[RowKey, Row]) -> list[Row]:
    return [row for key, row in rows.items() if key not in others]


def _describe(row: Row) -> Any:
    """Return a row as plain data, in which an unknown interval equals another one."""
    return describe_rows([row], study="")


def _compare_rows(before: Row, after: Row) -> CellChange:
    unlike = _list_unlike_conditions(before, after)
    return CellChange(
        before,
        after,
        unlike,
        quality=_compare_quality(before, after),
        time=_compare_time(before, after, unlike),
        size=_compare_size(before.size_bytes, after.size_bytes),
    )


def _list_unlike_conditions(before: Row, after: Row) -> list[str]:
    """Return the conditions that differ and can change a time; none where neither row has a time."""
    if before.p50_ns is None and after.p50_ns is None:
        return []
    if before.conditions is None or after.conditions is None:
        return [UNKNOWN_CONDITIONS]
    sides = [add_versions(row.conditions or {}, row.versions or {}) for row in (before, after)]
    return list_differences(*sides)


def _compare_time(before: Row, after: Row, unlike: Sequence[str]) -> Change | None:
    if before.p50_ns is None and after.p50_ns is None:
        return None
    if before.p50_ns is None or after.p50_ns is None:
        return Change(NOT_COMPARED, reason=f"no valid p50 {'before' if before.p50_ns is None else 'after'}")
    if not unlike:
        return _judge_ratio(after.p50_ns, before.p50_ns, is_relative=False)
    if before.speed_up is None or after.speed_up is None or before.reference != after.reference:
        return Change(NOT_COMPARED, reason="other conditions, and no ratio to the same reference")
    # A speed-up is the time of the reference over that of the cell.
    return _judge_ratio(before.speed_up, after.speed_up, is_relative=True)


def _judge_ratio(numerator: Estimate, denominator: Estimate, *, is_relative: bool) -> Change:
    ends = [end for each in (numerator, denominator) for end in (each.value, each.low, each.high)]
    if any(math.isnan(end) for end in ends):
        return Change(NOT_COMPARED, reason="no interval: too few processes", is_relative=is_relative)
    if min(ends) <= 0:
        return Change(NOT_COMPARED, reason="a time that is not positive", is_relative=is_relative)
    ratio = divide_estimates(numerator, denominator)
    verdict: ChangeVerdict = "slower" if ratio.low > 1 else "faster" if ratio.high < 1 else NO_DIFFERENCE
    return Change(verdict, ratio, is_relative=is_relative)


def _compare_quality(before: Row, after: Row) -> Change | None:
    if before.quality is None and after.quality is None:
        return None
    if before.quality is None or after.quality is None:
        return Change(NOT_COMPARED, reason=f"no valid quality {'before' if before.quality is None else 'after'}")
    if before.metric != after.metric or before.metric is None:
        return Change(NOT_COMPARED, reason="another metric")
    tasks = [(row.conditions or {}).get("task") for row in (before, after)]
    if tasks[0] != tasks[1]:
        return Change(NOT_COMPARED, reason="another task")
    if before.artifact_sha256 == after.artifact_sha256 and before.quality.value == after.quality.value:
        return Change("same")
    difference = subtract_estimates(after.quality, before.quality)
    if math.isnan(difference.low) or math.isnan(difference.high):
        return Change(NOT_COMPARED, difference, reason="no interval")
    if difference.low <= 0 <= difference.high:
        return Change(NO_DIFFERENCE, difference)
    return Change("better" if before.metric.is_better(difference.value, 0) else "worse", difference)


def _compare_size(before: int | None, after: int | None) -> Change | None:
    if before is None and after is None:
        return None
    if before is None or after is None:
        return Change(NOT_COMPARED, reason=f"no file {'before' if before is None else 'after'}")
    difference = float(after - before)
    verdict: ChangeVerdict = "larger" if difference > 0 else "smaller" if difference < 0 else "same"
    return Change(verdict, Estimate(difference, difference, difference))
