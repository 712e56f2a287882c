"""Compare two cells, nights, devices, commits or directories of records from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof.api.calls import prepare_call

if TYPE_CHECKING:
    from edgeproof.provenance.comparison_report import ComparisonReport


def compare(
    a: str | Path,
    b: str | Path,
    *,
    root: str | Path | None = None,
    percent: float = 50,
    margin: float = 0.0,
    unlike: bool = False,
) -> ComparisonReport:
    """Test whether B is slower or faster than A, from their records, as `edgeproof compare` does.

    Args:
        a, b: two cells such as "local/onnx/teacher/fp32", of which parts may be left out while the rest is unique, or
            two directories of records, devices, commits or nights.
        root: the directory of the records; by default results/records of the project. `Table.records` is another one.
        percent: the percentile to compare; anything but 50 needs two cells.
        margin: the relative difference to ignore, such as 0.02.
        unlike: compare under different conditions too, and list the differences.

    Returns:
        The report. `report.comparison` has `ratio`, `p_value` and `verdict`; `report.comparisons` has all of them by
        cell if two groups are compared.

    Raises:
        UnlikeConditions: the two were measured under different conditions, which the message lists.
        EdgeproofError: a name is unknown, or the two cannot be compared.
    """
    is_named = not (Path(a).is_dir() and Path(b).is_dir())
    with prepare_call(needs_project=is_named and root is None):
        from edgeproof.core.errors import EdgeproofError
        from edgeproof.paths import RECORDS
        from edgeproof.provenance import compare as comparisons
        from edgeproof.records import store

        if not 0 < percent < 100 or not 0 <= margin < 1:
            raise EdgeproofError(
                f"percent={percent!r}, margin={margin!r}: percent is between 0 and 100, margin from 0 to below 1."
            )
        place = RECORDS if root is None else Path(root)
        if is_named:
            store.refresh(place)
        return comparisons.compare(str(a), str(b), place, percent=percent, margin=margin, unlike=unlike)
