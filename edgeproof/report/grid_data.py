"""Rows of a grid as plain values for programs: the columns of the CSV and Parquet formats."""

from __future__ import annotations

import functools
from typing import Any

from edgeproof.report.figures import FIGURES
from edgeproof.report.grid_marks import Marks
from edgeproof.report.row import Row
from edgeproof.report.selections import PARTS, Selection


def describe_row(row: Row, chosen: Selection, marks: Marks) -> dict[str, Any]:
    """Return every chosen figure of a row in its unit, with interval, marks and reasons."""
    values: dict[str, Any] = {part: getattr(row, part) for part in PARTS}
    for name in chosen.figures:
        figure, column = FIGURES[name], _name_column(name)
        value, interval = figure.get_value(row), figure.get_interval(row)
        values[column] = value if isinstance(value, str) else _round(figure.get_number(row))
        if figure.has_interval:
            low, high = interval or (None, None)
            values |= {f"{column}_low": _round(low), f"{column}_high": _round(high)}
    values |= {"pareto": row.key in marks.front, "verdict": row.verdict, "reasons": "; ".join(row.reasons)}
    return {**values, "unlike_conditions": marks.unlike.get(row.key, ""), "artifact_sha256": row.artifact_sha256}


@functools.cache
def _name_column(name: str) -> str:
    """Return a figure's name with its unit, in characters that any program accepts."""
    column = f"{name}_{FIGURES[name].unit}" if FIGURES[name].unit else name
    return column.replace("%", "percent").replace("µ", "u").replace("×", "times").replace("/", "_per_")


def _round(number: float | None) -> float | None:
    """Round to twelve digits, which removes the rounding errors of unit conversions."""
    return None if number is None else float(f"{number:.12g}")
