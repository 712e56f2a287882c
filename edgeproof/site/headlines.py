"""The results that a reader wants first: on each device the fastest, the smallest and the best artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.report.figure import Figure
from edgeproof.report.figures import choose_figure, list_metrics
from edgeproof.report.row import Row
from edgeproof.site.facts import Facts
from edgeproof.site.links import ArtifactKey

QUALITY = "quality"
SHOWN_NAMES = (QUALITY, "size", "p50")
TILE_NAMES = (QUALITY, "size", "p50", "p99", "speed_up", "peak")
TILE_LABELS = {"size": "file size", "p50": "median time (p50)", "p99": "99th percentile (p99)"}
# Without a budget on the device's card, this loss of quality is the budget: in points, or in percent of another metric.
MAX_LOSS = 1.0
MAX_DEVICES = 4


@dataclass(frozen=True)
class Tile:
    """A figure in large type: its label, value, unit and interval."""

    label: str
    value: str
    unit: str
    interval: str = ""


@dataclass(frozen=True)
class Headline:
    """One headline result: the tile, the artifact, and its other figures as short texts."""

    tile: Tile
    artifact: ArtifactKey
    others: Sequence[str]


@dataclass(frozen=True)
class DeviceHeadlines:
    """The headlines of a device, with its processor and the day of the last measurement."""

    device: str
    cpu: str | None
    measured_at: str
    headlines: Sequence[Headline]


def list_headlines(facts: Facts) -> list[DeviceHeadlines]:
    """Return the headlines of the first devices with measured figures."""
    described = [describe_headlines(device, facts.rows) for device in facts.devices]
    return [device for device in described if device.headlines][:MAX_DEVICES]


def list_tiles(row: Row) -> list[Tile]:
    """Return the main figures of one result."""
    return [
        _make_tile(row, name, TILE_LABELS.get(name, _choose_figure(row, name).heading))
        for name in TILE_NAMES
        if _choose_figure(row, name).format_row(row).value
    ]


def describe_headlines(device: str, rows: Sequence[Row]) -> DeviceHeadlines:
    """Return the headlines of one device; `rows` may contain other devices.

    Qualities of different metrics do not compare, so rows of another metric than the first one are left out.
    """
    measured = [row for row in rows if row.device == device and row.npu is None]
    metrics = list_metrics(measured)
    measured = [row for row in measured if row.metric is None or row.metric == metrics[0]]
    cpus = [row.cpu for row in measured if row.cpu]
    return DeviceHeadlines(
        device=device,
        cpu=cpus[0] if cpus else None,
        measured_at=max((row.measured_at for row in measured), default=""),
        headlines=_choose_headlines(measured),
    )


def _choose_headlines(rows: Sequence[Row]) -> list[Headline]:
    """Return a headline for each question that the rows answer."""
    quality = choose_figure(QUALITY, rows)
    best = "lowest" if quality.better == "less" else "highest"
    candidates = [
        ("fastest", "p50", _find_least(rows, "p50")),
        ("smallest", "size", _find_least([row for row in rows if _read(row, QUALITY) is not None], "size")),
        (f"{best} {quality.heading}", QUALITY, _find_least(rows, QUALITY)),
        _choose_within_budget(rows, quality),
    ]
    return [_make_headline(row, name, label) for label, name, row in candidates if row is not None]


def _choose_within_budget(rows: Sequence[Row], quality: Figure) -> tuple[str, str, Row | None]:
    """Return the best row within the device's budget, or else the smallest one with little loss of quality."""
    if any(row.budget is not None for row in rows):
        within = [row for row in rows if row.budget is not None and row.budget.outcome == "within"]
        return "best within the budget", QUALITY, _find_least(within, QUALITY)
    is_percent, sign = quality.unit == "%", -1.0 if quality.better == "less" else 1.0
    best = _find_least(rows, QUALITY)
    value = 0.0 if best is None else sign * (_read(best, QUALITY) or 0.0)
    limit = value - (MAX_LOSS if is_percent else abs(value) * MAX_LOSS / 100)
    close = [row for row in rows if (number := _read(row, QUALITY)) is not None and sign * number >= limit]
    loss = f"{MAX_LOSS:g} point" if is_percent else f"{MAX_LOSS:g} %"
    word = "lowest" if quality.better == "less" else "highest"
    return f"smallest within {loss} of the {word} {quality.heading}", "size", _find_least(close, "size")


def _find_least(rows: Sequence[Row], name: str) -> Row | None:
    """Return the row with the best value of a figure, or None if no row has the figure."""
    sign = -1.0 if choose_figure(name, rows).better == "more" else 1.0
    key: Callable[[Row], float] = lambda row: sign * (_read(row, name) or 0.0)  # noqa: E731
    return min((row for row in rows if _read(row, name) is not None), key=key, default=None)


def _read(row: Row, name: str) -> float | None:
    return _choose_figure(row, name).get_number(row)


def _choose_figure(row: Row, name: str) -> Figure:
    return choose_figure(name, [row])


def _make_headline(row: Row, name: str, label: str) -> Headline:
    others = []
    for other in SHOWN_NAMES:
        tile = _make_tile(row, other, "")
        if other != name and tile.value:
            heading = f" {_choose_figure(row, other).heading}" if other == QUALITY else ""
            others.append(f"{tile.value}\N{NO-BREAK SPACE}{tile.unit}{heading}")
    return Headline(_make_tile(row, name, label), (row.model, row.runtime, row.scheme), others)


def _make_tile(row: Row, name: str, label: str) -> Tile:
    figure = _choose_figure(row, name)
    value, interval = figure.format_row(row)
    return Tile(label, value, figure.unit, interval)


def describe_overview(facts: Facts) -> dict[str, Any]:
    """Return the names and counts that the overview shows below its headlines."""
    measured = [row for row in facts.rows if row.npu is None]
    return {
        "headlines": list_headlines(facts),
        "tasks": list(dict.fromkeys(build.task for build in facts.builds.values() if build.task)),
        "runtimes": list(dict.fromkeys(row.runtime for row in measured)),
        "models": list(dict.fromkeys(row.model for row in facts.rows)),
        "last_measured_at": max((row.measured_at for row in measured), default=""),
        "cpus": list(dict.fromkeys(row.cpu for row in measured if row.cpu)),
    }
