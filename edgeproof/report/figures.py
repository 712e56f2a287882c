"""The registry of figures: for each its heading, unit, digits, better direction, and where its value comes from.

Every table takes its headings and formats from here: results/tables, families, sweeps, reports and the site. The names
are what `columns`, `sort` and `pareto` of a selection in conf/reports may hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgeproof.records import kinds
from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.report.markdown_text import EMPTY_CELL, Column, Item
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate

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

    @property
    def title(self) -> str:
        """The heading with its unit."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    @property
    def has_interval(self) -> bool:
        """True if exported data has columns for the ends of its interval."""
        return self.better is not None or self.signed or self.is_condition

    def get_value(self, row: Row) -> FigureValue:
        """Return the row's value in the field's unit."""
        if self.read is not None:
            return self.read(row)
        value: FigureValue = getattr(row, self.field)
        return value

    def get_number(self, row: Row) -> float | None:
        """Return the row's value in `unit`, or None if it has none or it is text."""
        return self._scale_number(self.get_value(row))

    def get_interval(self, row: Row) -> tuple[float, float] | None:
        """Return the 95% interval in `unit`, if there is one."""
        return self._scale_interval(self.get_value(row))

    def format_row(self, row: Row) -> FigureText:
        """Return the row's value and interval as text."""
        return self.format_value(self.get_value(row))

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

    def format_cell(self, value: FigureValue, *, with_interval: bool = True) -> str:
        """Return a value in the field's unit as the text of a Markdown cell, a dash if there is none."""
        text = self.format_value(value)
        if not text.value:
            return EMPTY_CELL
        return f"{text.value} {text.interval}" if text.interval and with_interval else text.value

    def _scale_number(self, value: FigureValue) -> float | None:
        if value is None or isinstance(value, str):
            return None
        return (value.value if isinstance(value, Estimate) else float(value)) * self.scale

    def _scale_interval(self, value: FigureValue) -> tuple[float, float] | None:
        if not isinstance(value, Estimate) or math.isnan(value.low):
            return None
        return value.low * self.scale, value.high * self.scale


def make_column(figure: Figure, get_row: Callable[[Item], Row | None], *, with_interval: bool = True) -> Column[Item]:
    """Return a column of a Markdown table that shows a figure of each item's row."""

    def cell(item: Item) -> str:
        row = get_row(item)
        return EMPTY_CELL if row is None else figure.format_cell(figure.get_value(row), with_interval=with_interval)

    return Column(figure.title, cell)


def format_verdict(row: Row) -> str:
    """Return the verdict, with the refused scenarios in parentheses: their figures are missing."""
    if row.npu is not None and row.verdict == "valid":
        return "estimated"
    if row.emulated is not None and row.verdict == "valid":
        return "emulated"
    refused = ", ".join(dict.fromkeys(reason.partition(" ")[0] for reason in row.reasons))
    return f"{row.verdict} ({refused})" if row.verdict in ("invalid", "error") and refused else row.verdict


def _format_origin(row: Row) -> str:
    """Return the parent and the teachers, such as "base, taught by teacher"."""
    return ", ".join(part for part in (row.parent, row.teacher and f"taught by {row.teacher}") if part)


def _get_entropy_coded_bytes(row: Row) -> int | None:
    """Return the size that belongs to the model. Only the fp32 row has it: other files hold other weights."""
    return row.model_entropy_coded_bytes if row.scheme == "fp32" else None


def _get_differing_attempts(row: Row) -> Estimate | None:
    """Return p50 over all attempts where it differs from the published one by more than the interval."""
    return row.p50_attempts_ns if row.has_selective_refusals else None


def _format_spread(row: Row) -> str:
    if row.p50_between is None or row.p50_within is None:
        return ""
    return f"{100 * row.p50_between:.2g} ({100 * row.p50_within:.2g})"


def _text(
    name: str, heading: str, field: str, read: Callable[[Row], str | None] | None = None, unit: str = ""
) -> Figure:
    return Figure(name, heading, unit, field, read, is_text=True)


def _count(name: str, heading: str) -> Figure:
    return Figure(name, heading, field=name, better="less")


def _size(name: str, heading: str) -> Figure:
    return Figure(name, heading, "KiB", f"{name}_bytes", scale=1 / 1024, digits=1, better="less")


def _percentile(name: str, heading: str, field: str, scenario: str = SINGLE_STREAM) -> Figure:
    return Figure(name, heading, "µs", field, scale=1e-3, scenario=scenario, better="less")


def _start_up(name: str, heading: str, field: str) -> Figure:
    return Figure(name, heading, "ms", field, scale=1e-6, digits=2, scenario=SINGLE_STREAM, better="less")


def _emulator_duration(name: str) -> Figure:
    """Return a duration on an emulator. It has no better direction, so it is never marked as best."""
    key, heading = f"{name}_ns", f"emulated {name}"
    read: Callable[[Row], FigureValue] = lambda row: (row.emulated or {}).get(key)  # noqa: E731
    return Figure(f"emulated_{name}", heading, "µs", "emulated", read, scale=1e-3, digits=0)


_ACCURACY = kinds.ACCURACY
_REGISTRY = (
    _text("from", "from", "parent", _format_origin),
    _text("method", "method", "method"),
    Figure("accuracy", "accuracy", "%", "accuracy", scale=100, digits=2, scenario=_ACCURACY, better="more"),
    Figure(
        "accuracy_difference",
        "Δ accuracy",
        "points",
        "accuracy_difference",
        scale=100,
        digits=2,
        scenario=_ACCURACY,
        signed=True,
    ),
    _count("parameters", "parameters"),
    _count("macs", "MACs"),
    Figure("zeros", "zeros", "%", "weight_sparsity", scale=100, digits=1),
    _size("size", "file"),
    _size("gzip", "gzip"),
    Figure(
        "entropy_coded",
        "model entropy-coded",
        "KiB",
        "model_entropy_coded_bytes",
        _get_entropy_coded_bytes,
        scale=1 / 1024,
        digits=1,
        better="less",
    ),
    _percentile("p50", "p50", "p50_ns"),
    _percentile("p90", "p90", "p90_ns"),
    _percentile("p99", "p99", "p99_ns"),
    _percentile("engine_p50", "engine p50", "invoke_p50_ns"),
    _text("deviation", "deviation between (within) processes", "p50_between", _format_spread, "%"),
    Figure("speed_up", "speed-up", "×", "speed_up", digits=2, scenario=SINGLE_STREAM, better="more", is_relative=True),
    _start_up("load", "load", "load_ns"),
    _start_up("first", "first inference", "first_inference_ns"),
    Figure(
        "peak",
        "peak memory",
        "MiB",
        "peak_rss_bytes",
        scale=2**-20,
        digits=0,
        scenario=SINGLE_STREAM,
        better="less",
    ),
    Figure("energy", "energy", "µJ", "energy_uj", scenario=SINGLE_STREAM, better="less"),
    _count("instructions", "instructions"),
    _percentile("overhead", "LoadGen overhead", "overhead_p50_ns"),
    _percentile("harness", "LoadGen overhead of the null runtime", "harness_p50_ns"),
    _percentile("multi_stream_p99", "MultiStream plain p99", "multi_stream_p99_ns", MULTI_STREAM),
    _percentile(
        "multi_stream_estimate", "MultiStream early-stopping estimate of p99", "multi_stream_estimate_ns", MULTI_STREAM
    ),
    Figure(
        "offline",
        "Offline at batch 1",
        "samples/s",
        "offline_samples_per_s",
        digits=0,
        scenario=OFFLINE,
        better="more",
    ),
    # The study chooses the offered rate, so a higher rate is not better.
    Figure(
        "server",
        "Server offered",
        "samples/s",
        "server_offered_samples_per_s",
        lambda row: row.server_offered_samples_per_s or row.server_samples_per_s,
        digits=0,
        scenario=SERVER,
        is_condition=True,
    ),
    Figure(
        "server_p99", "Server p99 at that rate", "µs", "server_p99_ns", scale=1e-3, scenario=SERVER, is_condition=True
    ),
    Figure("server_limit", "Server p99 limit", "µs", "server_limit_ns", scale=1e-3, digits=0, scenario=SERVER),
    Figure("refused_runs", "refused runs", field="refused_runs"),
    Figure(
        "p50_attempts",
        "p50 of all attempts, if it differs",
        "µs",
        "p50_attempts_ns",
        _get_differing_attempts,
        scale=1e-3,
        scenario=SINGLE_STREAM,
        is_condition=True,
    ),
    _emulator_duration("p50"),
    _emulator_duration("p99"),
    Figure("processes", "processes", field="processes"),
    _text("measured_at", "measured", "measured_at"),
    _text("budget", "budget", "budget", lambda row: None if row.budget is None else row.budget.outcome),
    _text("verdict", "verdict", "verdict", format_verdict),
)
FIGURES: dict[str, Figure] = {figure.name: figure for figure in _REGISTRY}


def _estimate(
    name: str, heading: str, key: str, unit: str = "", *, scale: float = 1.0, digits: int | None = None
) -> Figure:
    def read(row: Row) -> FigureValue:
        return None if row.estimate is None else int(row.estimate[key])

    return Figure(name, heading, unit, "estimate", read, scale=scale, digits=digits)


# Figures that a compiler estimated. No selection can name them: they never stand beside measured ones.
ESTIMATES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        _estimate("cycles", "estimated cycles", "cycles"),
        _estimate("inference", "estimated time", "inference_ns", "µs", scale=1e-3, digits=1),
        _estimate("sram", "SRAM", "sram_bytes", "KiB", scale=1 / 1024, digits=1),
        _estimate("flash", "flash", "flash_bytes", "KiB", scale=1 / 1024, digits=1),
        _estimate("npu_operators", "operators on the NPU", "npu_operators"),
    )
}
