"""Write the rows as a script for the site's own scripts: a page opened from a file can load no other kind of data."""

from __future__ import annotations

import json
from typing import Any

from edgeproof.report.figures import FIGURES, choose_figure, list_metrics
from edgeproof.report.grid_marks import DeviceRanking
from edgeproof.report.row import Row
from edgeproof.site.facts import Facts
from edgeproof.site.links import artifact_page

# Figures for the horizontal axis of the Pareto plot. A study chooses the rate that Server offers, so it is not a cost.
COSTS = ("p50", "p90", "p99", "multi_stream_p99", "offline", "size", "macs", "peak", "energy", "load")
FIGURE_NAMES = ("quality", *COSTS)


def render_rows_script(facts: Facts) -> str:
    """Return a script that sets window.EDGEPROOF to the measured rows and the titles of figures and devices."""
    rows = [row for row in facts.rows if row.npu is None]
    has_several = len(list_metrics(rows)) > 1
    content = {
        "figures": {
            figure.name: {"title": figure.title, "better": figure.better, "scenario": figure.scenario}
            for figure in (choose_figure(name, rows) for name in FIGURE_NAMES)
        },
        "devices": {row.device: facts.get_device_title(row.device) for row in rows},
        "rows": [_describe_row(row, facts.ranking, has_several) for row in rows],
    }
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f"window.EDGEPROOF = {text};\n"


def _describe_row(row: Row, ranking: DeviceRanking, names_metric: bool) -> dict[str, Any]:
    """Return a row's names, its figures as [value] or [value, low, high], and the costs in which it is on the front.

    The front compares all rows of the device, whatever the filters show.
    """
    content: dict[str, Any] = {
        "device": row.device,
        "runtime": row.runtime,
        "model": row.model,
        "scheme": row.scheme,
        "verdict": row.verdict,
        "page": artifact_page((row.model, row.runtime, row.scheme)),
    }
    front = [name for name in COSTS if row.key in ranking.get_front(row.device, [name, "quality"])]
    if front:
        content["front"] = front
    if names_metric and row.metric is not None:
        content |= {"metric": FIGURES["quality"].for_metric(row.metric).title, "better": row.metric.better}
    if row.verdict != "valid":
        content["reasons"] = "; ".join(row.reasons)
    for name in FIGURE_NAMES:
        value, interval = FIGURES[name].get_number(row), FIGURES[name].get_interval(row)
        if value is not None:
            content[name] = [float(f"{number:.6g}") for number in (value, *(interval or ()))]
    return content
