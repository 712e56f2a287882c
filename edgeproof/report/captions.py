"""Sentences that explain intervals and marks in the captions of tables and plots."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof.statistics.metric import Metric

_INTERVAL_NAMES = {"wilson": "Wilson's", "bootstrap": "bootstrap percentiles"}
# The differences between machines are those of docs/methodology.md.
COVERAGE = (
    "Intervals of times cover the spread between processes of one session: on another machine of the same model, "
    "absolute times differed by 5 to 19%, and ratios agreed."
)
BEST = (
    "the best estimate of its figure among all cells of the device, including those that this table leaves out; "
    "others may be within its interval."
)
UNBEATEN = "not beaten beyond the intervals"


def explain_intervals(metrics: Sequence[Metric]) -> str:
    """Return the meaning of the brackets in a table of rows with these metrics."""
    names = [f"{_INTERVAL_NAMES[metric.interval]} for {metric.label}" for metric in metrics]
    if metrics:
        names.append(f"paired for {'its difference' if len(metrics) == 1 else 'their differences'}")
    names.append("Student's t over processes for latency, never narrower than the order statistics within them")
    return f"Brackets are 95% intervals: {', '.join(names)}."


def explain_direction(metrics: Sequence[Metric]) -> str:
    """Return a sentence that names the metrics whose lower values are better, or nothing if there is none."""
    labels = [metric.label for metric in metrics if metric.better == "less"]
    return f"Lower is better for {' and '.join(labels)}." if labels else ""


def explain_front(headings: Sequence[str]) -> str:
    """Return the meaning of the mark ◆ for figures with these headings."""
    figures = " or ".join([", ".join(headings[:-1]), headings[-1]])
    return (
        f"◆: {UNBEATEN} by any cell of the device, including those that this table leaves out. Every cell without ◆ "
        f"that has these figures is worse than a cell with ◆ in {figures} by more than the interval of their "
        "difference, and is not better by more than that in any of them."
    )
