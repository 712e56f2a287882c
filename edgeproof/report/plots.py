"""Plots of quality against latency and against size, one panel for each device, with intervals and the front.

Each plot is an SVG for people and a CSV for DVC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edgeproof.core.directories import write_text
from edgeproof.records.csv_text import format_csv
from edgeproof.report.captions import UNBEATEN
from edgeproof.report.figures import FIGURES
from edgeproof.report.fronts import find_front
from edgeproof.report.row import Row, RowKey
from edgeproof.report.svg import draw_svg
from edgeproof.statistics.metric import Metric

# The palette of Okabe and Ito, for any colour vision. Colours are runtimes, markers are schemes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE, UNBEATEN_SIZE = 5, 9
FADED = 0.45
TICKS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)  # in every decade of the horizontal axis
# Vertical distances of labels in points. Neighbours have different ones, so that their labels stay legible.
LABEL_OFFSETS = (-30, 28, -58)


@dataclass(frozen=True)
class CostAxis:
    """The horizontal axis of a plot.

    Attributes:
        figure: name of the figure.
        column: name of its column in the CSV.
        label: label of the axis.
        scale: factor from the figure's unit to that of the axis.
    """

    figure: str
    column: str
    label: str
    scale: float = 1.0


LATENCY = CostAxis("p50", "p50_us", "median latency, µs")
SIZE_ON_DISK = CostAxis("size", "size_bytes", "file size, bytes", 1024)


@dataclass(frozen=True)
class Panel:
    """A part of a plot: the rows of one device whose qualities compare, because they have one metric."""

    device: str
    metric: Metric
    rows: Sequence[Row]


@dataclass(frozen=True)
class Span:
    """A value and its 95% interval. Both ends are None if there is no interval."""

    value: float
    low: float | None
    high: float | None

    @property
    def error(self) -> list[list[float]] | None:
        """The distances to both ends, as matplotlib takes them."""
        if self.low is None or self.high is None:
            return None
        return [[self.value - self.low], [self.high - self.value]]


@dataclass(frozen=True)
class Point:
    """A row in a plot, with its cost in the unit of the axis and its quality in the unit of its metric."""

    row: Row
    cost: Span
    quality: Span


def draw_plots(rows: Sequence[Row], directory: Path) -> None:
    """Write quality_latency.svg and quality_size.svg into `directory`."""
    draw_scatter(rows, LATENCY, directory / "quality_latency.svg")
    draw_scatter(rows, SIZE_ON_DISK, directory / "quality_size.svg")


def write_points(rows: Sequence[Row], directory: Path) -> None:
    """Write the points of the plots as quality_latency.csv and quality_size.csv into `directory`."""
    write_text(directory / "quality_latency.csv", format_scatter_csv(rows, LATENCY))
    write_text(directory / "quality_size.csv", format_scatter_csv(rows, SIZE_ON_DISK))


def format_scatter_csv(rows: Sequence[Row], axis: CostAxis) -> str:
    """Return the points as CSV: artifact, cost and quality with their intervals, and whether nothing beats the point.

    Qualities are in the natural unit of their metric, shares of 1 for a proportion.
    """
    lines = []
    for panel in _list_panels(rows):
        front = _find_front(panel, axis)
        for point in _list_points(panel, axis):
            row, quality = point.row, point.row.quality
            assert quality is not None  # a point has one
            lines.append(
                [
                    *(row.device, row.model, row.runtime, row.scheme, point.cost.value, quality.value),
                    *(row.key in front, point.cost.low, point.cost.high),
                    *(None if math.isnan(end) else end for end in (quality.low, quality.high)),
                    row.metric_name,
                ]
            )
    ends = [f"{name}_{end}" for name in (axis.column, "quality") for end in ("low", "high")]
    return format_csv(
        ["device", "model", "runtime", "scheme", axis.column, "quality", "pareto", *ends, "metric"], lines
    )


def draw_scatter(rows: Sequence[Row], axis: CostAxis, path: Path) -> None:
    """Draw the points as SVG. The file is byte-identical for the same rows."""
    # A device without the figure has no panel: an emulated one has no latency.
    panels = [panel for panel in _list_panels(rows) if _list_points(panel, axis)] or _list_panels(rows)
    with draw_svg(path, panels=max(1, len(panels))) as figure:
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(len(panels), 1, number + 1)
            _draw_panel(axes, _list_points(panel, axis), _find_front(panel, axis), rows)
            label, title = _describe_quality(panel.metric), _describe_device(rows, panel.device)
            axes.set(xscale="log", xlabel=axis.label, ylabel=label, title=title)
            axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="x", which="both", labelsize=7)
        figure.legend(handles=_make_legend(rows), loc="outside right upper", fontsize=7)


def _draw_panel(axes: Axes, points: Sequence[Point], front: set[RowKey], rows: Sequence[Row]) -> None:
    runtimes = list(dict.fromkeys(row.runtime for row in rows))
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    for point in points:
        row, is_unbeaten = point.row, point.row.key in front
        axes.errorbar(
            point.cost.value,
            point.quality.value,
            xerr=point.cost.error,
            yerr=point.quality.error,
            marker=MARKERS[schemes.index(row.scheme) % len(MARKERS)],
            color=COLOURS[runtimes.index(row.runtime) % len(COLOURS)],
            markersize=UNBEATEN_SIZE if is_unbeaten else SIZE,
            markeredgecolor="black" if is_unbeaten else "none",
            alpha=1.0 if is_unbeaten else FADED,
            elinewidth=0.8,
            zorder=3 if is_unbeaten else 2,
        )
    labelled = sorted((point for point in points if point.row.key in front), key=lambda point: point.cost.value)
    for number, point in enumerate(labelled):
        axes.annotate(
            f"{point.row.model}\n{point.row.scheme}",
            (point.cost.value, point.quality.value),
            xytext=(10, LABEL_OFFSETS[number % len(LABEL_OFFSETS)]),
            textcoords="offset points",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "color": "0.4", "linewidth": 0.5, "shrinkB": 5},
            zorder=4,
        )
    axes.grid(alpha=0.25)


def _make_legend(rows: Sequence[Row]) -> list[Line2D]:
    runtimes = dict.fromkeys(row.runtime for row in rows)
    schemes = dict.fromkeys(row.scheme for row in rows)
    mark = Line2D([], [], color="white", marker="o", linestyle="", markeredgecolor="black", markersize=UNBEATEN_SIZE)
    mark.set_label(UNBEATEN)
    return [
        *(_make_entry(runtime, COLOURS[index % len(COLOURS)], "o") for index, runtime in enumerate(runtimes)),
        *(_make_entry(scheme, "0.4", MARKERS[index % len(MARKERS)]) for index, scheme in enumerate(schemes)),
        mark,
        Line2D([], [], color="0.4", linewidth=0.8, label="95% interval"),
    ]


def _make_entry(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label)


def _list_panels(rows: Sequence[Row]) -> list[Panel]:
    """Return a panel for each device and metric, in the order of the rows."""
    pairs = dict.fromkeys((row.device, row.metric) for row in rows if row.metric is not None)
    return [
        Panel(device, metric, [row for row in rows if row.device == device and row.metric == metric])
        for device, metric in pairs
        if metric is not None
    ]


def _find_front(panel: Panel, axis: CostAxis) -> set[RowKey]:
    return find_front(panel.rows, [axis.figure, "quality"])


def _list_points(panel: Panel, axis: CostAxis) -> list[Point]:
    """Return the points of the panel's rows that have the figure and a quality."""
    points = []
    for row in panel.rows:
        cost, quality = _get_span(row, axis.figure, axis.scale), _get_span(row, "quality")
        if cost is not None and quality is not None:
            points.append(Point(row, cost, quality))
    return points


def _get_span(row: Row, name: str, scale: float = 1.0) -> Span | None:
    value, interval = FIGURES[name].get_number(row), FIGURES[name].get_interval(row)
    if value is None:
        return None
    low, high = (None, None) if interval is None else (interval[0] * scale, interval[1] * scale)
    return Span(value * scale, low, high)


def _describe_quality(metric: Metric) -> str:
    """Return the label of the vertical axis, which says so where less is better."""
    title = FIGURES["quality"].for_metric(metric).title
    return f"{title} (less is better)" if metric.better == "less" else title


def _describe_device(rows: Sequence[Row], device: str) -> str:
    """Return the name of a device's card and its processor."""
    cpu = next((row.cpu for row in rows if row.device == device and row.cpu), None)
    return f"device: {device}" + (f" ({cpu})" if cpu else "")
