"""The outcome of a comparison: a text for people, HTML for notebooks, and figures and verdicts for programs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeproof.core.errors import EdgeproofError
from edgeproof.core.plain_text import escape_controls
from edgeproof.statistics.comparison import Comparison, ComparisonVerdict
from edgeproof.statistics.estimates import Estimate


@dataclass(frozen=True)
class ComparisonReport:
    """The outcome of a comparison of B with A. `print` shows its text, and a notebook a table.

    Attributes:
        text: the comparison in words.
        comparisons: every comparison that was made, by cell: one for two artifacts, one for each cell of two groups.
        left_out: what is missing from the comparison: processes that were refused, and cells that only one side has.
        cells: the comparison of each cell, for a table; none for two artifacts.
        introduction, remarks: the parts of `text` above and below that table.
    """

    text: str
    comparisons: Mapping[str, Comparison]
    left_out: int
    cells: Sequence[tuple[tuple[str, ...], Comparison]] = ()
    introduction: str = ""
    remarks: Sequence[str] = ()

    @property
    def verdicts(self) -> list[ComparisonVerdict]:
        """The verdict of every comparison."""
        return [comparison.verdict for comparison in self.comparisons.values()]

    @property
    def comparison(self) -> Comparison:
        """The comparison of two artifacts. Raises EdgeproofError for two groups of several cells."""
        if len(self.comparisons) != 1:
            raise EdgeproofError(f"there are {len(self.comparisons)} comparisons: choose one of .comparisons.")
        return next(iter(self.comparisons.values()))

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><th>{_escape(cell)}</th><td>{_format_ratio(comparison.ratio)}</td>"
            f"<td>{comparison.p_adjusted:.2g}</td><td>{comparison.verdict}</td></tr>"
            for cell, comparison in self.comparisons.items()
        )
        return (
            "<table><thead><tr><th>B</th><th>time of B / A</th><th>p</th><th>B is</th></tr></thead>"
            f"<tbody>{lines}</tbody></table><details><summary>Details</summary><pre>{_escape(self.text)}</pre></details>"
        )


def _format_ratio(ratio: Estimate) -> str:
    return f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]"


def _escape(text: str) -> str:
    return html.escape(escape_controls(text))
