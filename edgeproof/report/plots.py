"""Accuracy against latency and against size, a panel a device, with the Pareto front, as SVG and as CSV for DVC."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from edgeproof.report.row import Row
from edgeproof.statistics import pareto

# Okabe and Ito's palette, told apart with any colour vision; markers tell schemes apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def format_scatter_csv(rows: Sequence[Row], name: str, x: Callable[[Row], float | None]) -> str:
    """The points as CSV: identity, x under `name`, accuracy, and whether the point is on its device's Pareto front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["device", "model", "runtime", "scheme", name, "accuracy", "pareto"])
    for device in _devices(rows):
        points = _points(rows, device, x)
        front = set(pareto.find_pareto_front([(value, accuracy) for _, value, accuracy in points]))
        for index, (row, value, accuracy) in enumerate(points):
            writer.writerow([device, row.model, row.runtime, row.scheme, value, accuracy, index in front])
    return stream.getvalue()


def draw_scatter(rows: Sequence[Row], label: str, x: Callable[[Row], float | None], path: Path) -> None:
    """Draw the same points; the file is byte-identical for the same rows."""
    with mpl.rc_context({"svg.hashsalt": "edgeproof", "font.size": 9, "svg.fonttype": "none"}):
        # A device that has no such figure, as an emulated one has no latency, has no panel.
        devices = [device for device in _devices(rows) if _points(rows, device, x)] or _devices(rows)
        figure = Figure(figsize=(8, 4.6 * max(1, len(devices))), layout="constrained")
        for number, device in enumerate(devices):
            axes = figure.add_subplot(len(devices), 1, number + 1)
            _panel(axes, _points(rows, device, x), rows)
            axes.set(xscale="log", xlabel=label, ylabel="accuracy, %", title=f"device: {device}")
            for axis_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
                axis_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.tick_params(axis="x", which="both", labelsize=7)
        figure.legend(handles=_legend(rows), loc="outside right upper", fontsize=7)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: mpl.axes.Axes, points: Sequence[tuple[Row, float, float]], rows: Sequence[Row]) -> None:
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


def _legend(rows: Sequence[Row]) -> list[Line2D]:
    runtimes = dict.fromkeys(row.runtime for row in rows)
    schemes = dict.fromkeys(row.scheme for row in rows)
    return [
        *(_mark(runtime, COLOURS[index % len(COLOURS)], "o") for index, runtime in enumerate(runtimes)),
        *(_mark(scheme, "0.4", MARKERS[index % len(MARKERS)]) for index, scheme in enumerate(schemes)),
        Line2D([], [], color="0.4", linewidth=1, label="Pareto front"),
    ]


def _mark(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label)


def _points(rows: Sequence[Row], device: str, x: Callable[[Row], float | None]) -> list[tuple[Row, float, float]]:
    found = []
    for row in rows:
        value = x(row)
        if row.device == device and value is not None and row.accuracy is not None:
            found.append((row, value, row.accuracy.value))
    return found


def _devices(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.device for row in rows))
