"""Rows of a grid as plain values for programs: the columns of the CSV and Parquet formats."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from edgeproof.report.figure import Figure
from edgeproof.report.grid_marks import Marks
from edgeproof.report.row import Row
from edgeproof.report.selections import PARTS


def describe_row(row: Row, figures: Sequence[Figure], marks: Marks) -> dict[str, Any]:
    """Return every figure of a row in its unit, with interval, marks and reasons.

    With a quality comes the column `metric`, because the unit in the name of a column does not name it.
    """
    values: dict[str, Any] = {part: getattr(row, part) for part in PARTS}
    if any(figure.is_quality for figure in figures):
        values["metric"] = row.metric_name
    for figure in figures:
        column = _name_column(figure)
        value, interval = figure.get_value(row), figure.get_interval(row)
        values[column] = value if isinstance(value, str) else _round(figure.get_number(row))
        if figure.has_interval:
            low, high = interval or (None, None)
            values |= {f"{column}_low": _round(low), f"{column}_high": _round(high)}
    values |= {"pareto": row.key in marks.front, "verdict": row.verdict, "reasons": "; ".join(row.reasons)}
    return {**values, "unlike_conditions": marks.unlike.get(row.key, ""), "artifact_sha256": row.artifact_sha256}


@functools.cache
def _name_column(figure: Figure) -> str:
    """Return a figure's name with its unit, in characters that any program accepts."""
    column = f"{figure.name}_{figure.unit}" if figure.unit else figure.name
    return column.replace("%", "percent").replace("µ", "u").replace("×", "times").replace("/", "_per_")


def _round(number: float | None) -> float | None:
    """Round to twelve digits, which removes the rounding errors of unit conversions."""
    return None if number is None else float(f"{number:.12g}")
