"""The results that a reader wants first: on each device the fastest, the smallest and the best artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof.report.figures import FIGURES
from edgeproof.report.row import Row
from edgeproof.site.facts import Facts
from edgeproof.site.links import ArtifactKey

QUALITY = "accuracy"
SHOWN_NAMES = (QUALITY, "size", "p50")
TILE_NAMES = (QUALITY, "size", "p50", "p99", "speed_up", "peak")
TILE_LABELS = {"size": "file size", "p50": "median time (p50)", "p99": "99th percentile (p99)"}
# Without a budget on the device's card, this loss of quality is the budget.
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
        _make_tile(row, name, TILE_LABELS.get(name, FIGURES[name].heading))
        for name in TILE_NAMES
        if FIGURES[name].format_row(row).value
    ]


def describe_headlines(device: str, rows: Sequence[Row]) -> DeviceHeadlines:
    """Return the headlines of one device; `rows` may contain other devices."""
    measured = [row for row in rows if row.device == device and row.npu is None]
    cpus = [row.cpu for row in measured if row.cpu]
    return DeviceHeadlines(
        device=device,
        cpu=cpus[0] if cpus else None,
        measured_at=max((row.measured_at for row in measured), default=""),
        headlines=_choose_headlines(measured),
    )


def _choose_headlines(rows: Sequence[Row]) -> list[Headline]:
    """Return a headline for each question that the rows answer."""
    candidates = [
        ("fastest", "p50", _find_least(rows, "p50")),
        ("smallest", "size", _find_least([row for row in rows if _read(row, QUALITY) is not None], "size")),
        (f"highest {FIGURES[QUALITY].heading}", QUALITY, _find_least(rows, QUALITY)),
        _choose_within_budget(rows),
    ]
    return [_make_headline(row, name, label) for label, name, row in candidates if row is not None]


def _choose_within_budget(rows: Sequence[Row]) -> tuple[str, str, Row | None]:
    """Return the best row within the device's budget, or else the smallest one with little loss of quality."""
    if any(row.budget is not None for row in rows):
        within = [row for row in rows if row.budget is not None and row.budget.outcome == "within"]
        return "best within the budget", QUALITY, _find_least(within, QUALITY)
    best = _find_least(rows, QUALITY)
    limit = 0.0 if best is None else (_read(best, QUALITY) or 0.0) - MAX_LOSS
    close = [row for row in rows if (_read(row, QUALITY) or -1.0) >= limit]
    return (
        f"smallest within {MAX_LOSS:g} point of the highest {FIGURES[QUALITY].heading}",
        "size",
        _find_least(close, "size"),
    )


def _find_least(rows: Sequence[Row], name: str) -> Row | None:
    """Return the row with the best value of a figure, or None if no row has the figure."""
    sign = -1.0 if FIGURES[name].better == "more" else 1.0
    key: Callable[[Row], float] = lambda row: sign * (_read(row, name) or 0.0)  # noqa: E731
    return min((row for row in rows if _read(row, name) is not None), key=key, default=None)


def _read(row: Row, name: str) -> float | None:
    return FIGURES[name].get_number(row)


def _make_headline(row: Row, name: str, label: str) -> Headline:
    tiles = [_make_tile(row, other, "") for other in SHOWN_NAMES if other != name]
    others = [
        f"{tile.value}\N{NO-BREAK SPACE}{tile.unit}" + (f" {FIGURES[other].heading}" if other == QUALITY else "")
        for tile, other in zip(tiles, [other for other in SHOWN_NAMES if other != name], strict=True)
        if tile.value
    ]
    return Headline(_make_tile(row, name, label), (row.model, row.runtime, row.scheme), others)


def _make_tile(row: Row, name: str, label: str) -> Tile:
    figure = FIGURES[name]
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
