"""Sentences that explain intervals and marks in the captions of tables and plots."""

from __future__ import annotations

from collections.abc import Sequence

INTERVALS = (
    "Brackets are 95% intervals: Wilson's for accuracy, paired for its difference, Student's t over processes for "
    "latency, never narrower than the order statistics within them."
)
# The differences between machines are those of docs/methodology.md.
COVERAGE = (
    "Intervals of times cover the spread between processes of one session: on another machine of the same model, "
    "absolute times differed by 5 to 19%, and ratios agreed."
)
UNBEATEN = "not beaten beyond the intervals"


def explain_front(headings: Sequence[str]) -> str:
    """Return the meaning of the mark ◆ for figures with these headings."""
    figures = " or ".join([", ".join(headings[:-1]), headings[-1]])
    return (
        f"◆: {UNBEATEN}, among all cells of the device, shown here or not. Every other cell with these figures is "
        f"worse than one with ◆ in {figures} beyond the interval of their difference, and better beyond it in none."
    )
