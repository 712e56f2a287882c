"""The outcome of `edgeproof compare`: a text for people, and the verdicts for programs such as CI jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeproof.statistics.comparison import Comparison, ComparisonVerdict


@dataclass(frozen=True)
class ComparisonReport:
    """The outcome of a comparison.

    Attributes:
        text: the comparison in words.
        verdicts: the verdict of every comparison that was made: one for two artifacts, one a cell for two groups.
        left_out: what is missing from the comparison: processes that were refused, and cells that only one side has.
        cells: the comparison of each cell, for a table; none for two artifacts.
        introduction, remarks: the parts of `text` above and below that table.
    """

    text: str
    verdicts: Sequence[ComparisonVerdict]
    left_out: int
    cells: Sequence[tuple[tuple[str, ...], Comparison]] = ()
    introduction: str = ""
    remarks: Sequence[str] = ()
