"""Plots of federated training: the quality of the global model against rounds and against bytes exchanged.

Each is an SVG for people and a CSV for `dvc plots show`. They are written for studies with federated models only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.directories import write_text
from edgeproof.records.csv_text import format_csv
from edgeproof.report.plots import COLOURS, MARKERS
from edgeproof.report.row import Row
from edgeproof.report.svg import draw_svg
from edgeproof.statistics.metric import Metric

BYTES_PER_MIB = 2**20


@dataclass(frozen=True)
class Curve:
    """The measured rounds of one model: their numbers, the bytes exchanged up to each of them, and the qualities."""

    model: str
    metric: Metric
    rounds: Sequence[int]
    exchanged_bytes: Sequence[int]
    qualities: Sequence[float]


def list_curves(rows: Sequence[Row]) -> list[Curve]:
    """Return the curve of each federated model, in the order of the rows."""
    curves: dict[str, Curve] = {}
    for row in rows:
        curve = (row.federated or {}).get("curve")
        if curve and row.metric is not None and row.model not in curves:
            curves[row.model] = Curve(row.model, row.metric, curve["round"], curve["bytes"], curve["quality"])
    return list(curves.values())


def write_plots(rows: Sequence[Row], directory: Path) -> None:
    """Write federated.csv, quality_rounds.svg and quality_bytes.svg into `directory` if any model is federated."""
    curves = list_curves(rows)
    if not curves:
        return
    write_text(directory / "federated.csv", format_curves_csv(curves))
    _draw(curves, directory / "quality_rounds.svg", "round", in_bytes=False)
    _draw(curves, directory / "quality_bytes.svg", "exchanged by all clients and the server, MiB", in_bytes=True)


def format_curves_csv(curves: Sequence[Curve]) -> str:
    """Return one line for each measured round. Qualities are in the natural unit of their metric."""
    lines = [
        [curve.model, *point]
        for curve in curves
        for point in zip(curve.rounds, curve.exchanged_bytes, curve.qualities, strict=True)
    ]
    return format_csv(["model", "round", "bytes", "quality"], lines)


def _draw(curves: Sequence[Curve], path: Path, label: str, *, in_bytes: bool) -> None:
    """Draw all curves as SVG. The file is byte-identical for the same curves."""
    metric = curves[0].metric
    with draw_svg(path) as figure:
        axes = figure.add_subplot()
        for number, curve in enumerate(curves):
            x = [count / BYTES_PER_MIB for count in curve.exchanged_bytes] if in_bytes else curve.rounds
            axes.plot(
                x,
                [quality * metric.scale for quality in curve.qualities],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=3,
                linewidth=1,
                label=curve.model,
            )
        unit = f", {metric.unit}" if metric.unit else ""
        axes.set(xlabel=label, ylabel=f"validation {metric.label}{unit}")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
