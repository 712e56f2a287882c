"""A figure of a row: its heading, unit, digits, better direction, and where its value comes from.

The figures of a quality take heading, unit, digits and direction from the metric of the rows that a table shows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from edgeproof.report.markdown_text import EMPTY_CELL
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric

FigureValue = Estimate | float | int | str | None


class FigureText(NamedTuple):
    """A figure as text: its value and its interval in brackets. Both are empty without a value."""

    value: str
    interval: str


@dataclass(frozen=True)
class Figure:
    """One figure of a row.

    Attributes:
        name: key of the registry.
        heading: what tables call it, without the unit.
        unit: the unit it is shown in; empty for counts and text.
        field: the field of the row that it comes from.
        read: returns the value from the row, if it is not the field itself.
        scale: factor from the field's unit to `unit`.
        digits: digits after the decimal point; None if the interval decides.
        scenario: LoadGen scenario of the runs that it comes from; None if it needs no run.
        better: direction of better values; None if there is none, as for text. Such a figure is never marked as best.
        signed: True if a plus sign is written.
        is_relative: True if values of different runtimes do not compare, so that none is marked as the best.
        is_condition: True for an estimate that describes a run: no direction is better, but its interval is exported.
        is_text: True if its values are words.
        is_quality: True for a quality or a difference of qualities, whose heading, unit, scale, digits and direction
            are those of a metric, see `for_metric`.
        names_metric: True if each cell names its metric, because the rows have several.
        suffix: what a quality is of, if it is not of the artifact; it follows the metric's name in the heading.
    """

    name: str
    heading: str
    unit: str = ""
    field: str = ""
    read: Callable[[Row], FigureValue] | None = None
    scale: float = 1.0
    digits: int | None = None
    scenario: str | None = None
    better: Literal["less", "more"] | None = None
    signed: bool = False
    is_relative: bool = False
    is_condition: bool = False
    is_text: bool = False
    is_quality: bool = False
    names_metric: bool = False
    suffix: str = ""

    @property
    def title(self) -> str:
        """The heading with its unit."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    @property
    def has_interval(self) -> bool:
        """True if exported data has columns for the ends of its interval."""
        return self.better is not None or self.signed or self.is_condition

    def for_metric(self, metric: Metric) -> Figure:
        """Return a figure of a quality as tables of one metric show it; any other figure as it is."""
        return _apply_metric(self, metric) if self.is_quality else self

    def get_value(self, row: Row) -> FigureValue:
        """Return the row's value in the field's unit."""
        if self.read is not None:
            return self.read(row)
        value: FigureValue = getattr(row, self.field)
        return value

    def get_number(self, row: Row) -> float | None:
        """Return the row's value in its unit, or None if it has none or it is text."""
        return self._adapt(row)._scale_number(self.get_value(row))

    def get_interval(self, row: Row) -> tuple[float, float] | None:
        """Return the 95% interval in the unit of the value, if there is one."""
        return self._adapt(row)._scale_interval(self.get_value(row))

    def format_row(self, row: Row) -> FigureText:
        """Return the row's value and interval as text, with the metric's name if the rows have several."""
        figure = self._adapt(row)
        text = figure.format_value(self.get_value(row))
        if not self.names_metric or not text.value or row.metric is None:
            return text
        unit = "%" if figure.unit == "%" else f" {figure.unit}".rstrip()
        return FigureText(f"{row.metric.label} {text.value}{unit}", text.interval)

    def format_value(self, value: FigureValue) -> FigureText:
        """Return a value in the field's unit as text, in `unit`.

        Value and interval have `digits` digits, or the digits that the interval deserves: two of its half width.
        """
        number, interval = self._scale_number(value), self._scale_interval(value)
        if number is None:
            return FigureText(value if isinstance(value, str) else "", "")
        digits = self.digits
        if digits is None and interval is not None:
            half_width = max(interval[1] - number, number - interval[0])
            digits = 0 if half_width <= 0 else max(0, min(3, 1 - math.floor(math.log10(half_width))))
        sign = "+" if self.signed else ""
        if digits is None:
            form = f"{sign},.4g" if isinstance(value, float | Estimate) else f"{sign},.0f"
            return FigureText(f"{number:{form}}", "")
        text = f"{number:{sign},.{digits}f}"
        if interval is None:
            return FigureText(text, "")
        return FigureText(text, f"[{interval[0]:{sign},.{digits}f}, {interval[1]:{sign},.{digits}f}]")

    def format_row_cell(self, row: Row, *, with_interval: bool = True) -> str:
        """Return the row's value as the text of a Markdown cell, a dash if there is none."""
        return _join_text(self.format_row(row), with_interval)

    def format_cell(self, value: FigureValue, *, with_interval: bool = True) -> str:
        """Return a value in the field's unit as the text of a Markdown cell, a dash if there is none."""
        return _join_text(self.format_value(value), with_interval)

    def _adapt(self, row: Row) -> Figure:
        return self if row.metric is None else self.for_metric(row.metric)

    def _scale_number(self, value: FigureValue) -> float | None:
        if value is None or isinstance(value, str):
            return None
        return (value.value if isinstance(value, Estimate) else float(value)) * self.scale

    def _scale_interval(self, value: FigureValue) -> tuple[float, float] | None:
        if not isinstance(value, Estimate) or math.isnan(value.low):
            return None
        return value.low * self.scale, value.high * self.scale


@functools.lru_cache(maxsize=64)
def _apply_metric(figure: Figure, metric: Metric) -> Figure:
    if figure.signed:
        heading, unit, better = f"Δ {metric.label}", metric.difference_unit, None
    else:
        heading = f"{metric.label} {figure.suffix}".rstrip()
        unit, better = metric.unit, metric.better
    return replace(figure, heading=heading, unit=unit, scale=metric.scale, digits=metric.digits, better=better)


def _join_text(text: FigureText, with_interval: bool) -> str:
    if not text.value:
        return EMPTY_CELL
    return f"{text.value} {text.interval}" if text.interval and with_interval else text.value
