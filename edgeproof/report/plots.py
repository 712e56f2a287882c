"""Plots of accuracy against latency and against size, one panel for each device, with the Pareto front.

Each plot is an SVG for people and a CSV for DVC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from edgeproof.core.directories import write_text
from edgeproof.records.csv_text import format_csv
from edgeproof.report.row import Row
from edgeproof.statistics import pareto

# The palette of Okabe and Ito, for any colour vision. Colours are runtimes, markers are schemes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
LATENCY_LABEL, SIZE_LABEL = "median latency, µs", "file size, bytes"

Point = tuple[Row, float, float]  # row, horizontal value, accuracy as a share of 1


def draw_plots(rows: Sequence[Row], directory: Path) -> None:
    """Write accuracy_latency.svg and accuracy_size.svg into `directory`."""
    draw_scatter(rows, LATENCY_LABEL, _get_p50_us, directory / "accuracy_latency.svg")
    draw_scatter(rows, SIZE_LABEL, _get_size_bytes, directory / "accuracy_size.svg")


def write_points(rows: Sequence[Row], directory: Path) -> None:
    """Write the points of the plots as accuracy_latency.csv and accuracy_size.csv into `directory`."""
    write_text(directory / "accuracy_latency.csv", format_scatter_csv(rows, "p50_us", _get_p50_us))
    write_text(directory / "accuracy_size.csv", format_scatter_csv(rows, "size_bytes", _get_size_bytes))


def _get_p50_us(row: Row) -> float | None:
    return None if row.p50_ns is None else row.p50_ns.value / 1000


def _get_size_bytes(row: Row) -> float | None:
    return row.size_bytes


def format_scatter_csv(rows: Sequence[Row], name: str, x: Callable[[Row], float | None]) -> str:
    """Return the points as CSV: artifact, x in the column `name`, accuracy, and whether the point is on the front."""
    lines = []
    for device in _list_devices(rows):
        points = _list_points(rows, device, x)
        front = set(pareto.find_pareto_front([(value, accuracy) for _, value, accuracy in points]))
        for index, (row, value, accuracy) in enumerate(points):
            lines.append([device, row.model, row.runtime, row.scheme, value, accuracy, index in front])
    return format_csv(["device", "model", "runtime", "scheme", name, "accuracy", "pareto"], lines)


def draw_scatter(rows: Sequence[Row], label: str, x: Callable[[Row], float | None], path: Path) -> None:
    """Draw the points as SVG. The file is byte-identical for the same rows."""
    with mpl.rc_context({"svg.hashsalt": "edgeproof", "font.size": 9, "svg.fonttype": "none"}):
        # A device without the figure has no panel: an emulated one has no latency.
        devices = [device for device in _list_devices(rows) if _list_points(rows, device, x)] or _list_devices(rows)
        figure = Figure(figsize=(8, 4.6 * max(1, len(devices))), layout="constrained")
        for number, device in enumerate(devices):
            axes = figure.add_subplot(len(devices), 1, number + 1)
            _draw_panel(axes, _list_points(rows, device, x), rows)
            axes.set(xscale="log", xlabel=label, ylabel="accuracy, %", title=f"device: {device}")
            for set_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
                set_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.tick_params(axis="x", which="both", labelsize=7)
        figure.legend(handles=_make_legend(rows), loc="outside right upper", fontsize=7)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw_panel(axes: mpl.axes.Axes, points: Sequence[Point], rows: Sequence[Row]) -> None:
    runtimes = list(dict.fromkeys(row.runtime for row in rows))
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    for row, value, accuracy in points:
        colour = COLOURS[runtimes.index(row.runtime) % len(COLOURS)]
        marker = MARKERS[schemes.index(row.scheme) % len(MARKERS)]
        axes.plot(value, 100 * accuracy, marker=marker, color=colour, linestyle="", markersize=6, alpha=0.85)
    front = [points[i] for i in pareto.find_pareto_front([(value, accuracy) for _, value, accuracy in points])]
    axes.step([p[1] for p in front], [100 * p[2] for p in front], where="post", color="0.4", linewidth=1, zorder=0)
    for row, value, accuracy in front:
        axes.annotate(
            f"{row.model}\n{row.scheme}",
            (value, 100 * accuracy),
            xytext=(5, -18),
            textcoords="offset points",
            fontsize=7,
        )
    axes.grid(alpha=0.25)


def _make_legend(rows: Sequence[Row]) -> list[Line2D]:
    runtimes = dict.fromkeys(row.runtime for row in rows)
    schemes = dict.fromkeys(row.scheme for row in rows)
    return [
        *(_make_entry(runtime, COLOURS[index % len(COLOURS)], "o") for index, runtime in enumerate(runtimes)),
        *(_make_entry(scheme, "0.4", MARKERS[index % len(MARKERS)]) for index, scheme in enumerate(schemes)),
        Line2D([], [], color="0.4", linewidth=1, label="Pareto front"),
    ]


def _make_entry(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label)


def _list_points(rows: Sequence[Row], device: str, x: Callable[[Row], float | None]) -> list[Point]:
    points = []
    for row in rows:
        value = x(row)
        if row.device == device and value is not None and row.accuracy is not None:
            points.append((row, value, row.accuracy.value))
    return points


def _list_devices(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.device for row in rows))
