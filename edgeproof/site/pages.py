"""Write the pages of the site.

index.html      overview: headline results, best trade-offs, devices, nights, tables
pareto.html     every artifact, quality against any cost, with filters
compare.html    two cells side by side
artifacts/      a page for each artifact
devices/        a page for each device
nights/         a page for each night
files/          the artifacts' files
records/        the records of each result's runs
tables/         every saved selection in every format, written by publish.py
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgeproof.report.figures import FIGURES, choose_figure
from edgeproof.report.formats.html import escape_value
from edgeproof.report.row import Row
from edgeproof.site import links, vega
from edgeproof.site.artifact_page import describe_artifact
from edgeproof.site.device_page import describe_device
from edgeproof.site.downloads import DownloadCopier
from edgeproof.site.facts import Facts
from edgeproof.site.headlines import describe_overview
from edgeproof.site.linked_tables import render_table
from edgeproof.site.links import ArtifactKey
from edgeproof.site.night_page import describe_night
from edgeproof.site.rows_script import render_rows_script
from edgeproof.site.words import FILTERS

HERE = Path(__file__).parent
MAX_SHOWN_ROWS = 200


def build_pages(facts: Facts, tables: Mapping[str, Mapping[str, str]], out: Path, *, title: str) -> int:
    """Write the site into the directory `out`; return the number of pages.

    `tables` maps titles of saved selections to their files by format, relative to `out`.
    """
    writer = _PageWriter(facts, out, title)
    shutil.copytree(HERE / "static", out / "static")
    (out / "static" / "vega.js").write_text(vega.load_bundle(), encoding="utf-8")
    (out / "data").mkdir()
    (out / "data" / "rows.js").write_text(render_rows_script(facts), encoding="utf-8")
    writer.write("index.html", "index.html", tables=tables, front=_render_front(facts), **describe_overview(facts))
    writer.write("pareto.html", "pareto.html", title="All results")
    writer.write("compare.html", "compare.html", title="Compare two results")
    copier = DownloadCopier(out)
    by_artifact, by_device = _group(facts.rows)
    for artifact in facts.artifacts:
        rows = by_artifact[artifact]
        values = describe_artifact(facts, artifact, rows)
        values["files"] = copier.copy_artifact(artifact, facts.builds[artifact])
        values["records"] = [(row.device, copier.copy_records(row.key, facts.runs.get(row.key, ()))) for row in rows]
        writer.write(links.artifact_page(artifact), "artifact.html", **values)
    for device in facts.devices:
        writer.write(links.device_page(device), "device.html", **describe_device(facts, device, by_device[device]))
    for night in facts.nights:
        writer.write(links.night_page(night), "night.html", **describe_night(facts, night))
    return writer.count


class _PageWriter:
    """Writes pages from templates and counts them."""

    def __init__(self, facts: Facts, out: Path, title: str) -> None:
        self._out = out
        self.count = 0
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            finalize=escape_value,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= FILTERS
        self._environment.globals |= {
            "site": title,
            "facts": facts,
            "figure_titles": {name: choose_figure(name, facts.rows).title for name in FIGURES},
            "device_title": facts.get_device_title,
            "artifact_page": links.artifact_page,
            "device_page": links.device_page,
            "night_page": links.night_page,
        }

    def write(self, path: str, template: str, **values: Any) -> None:
        """Write one page. The template gets the values, `path`, and `up`, which leads to the root of the site."""
        target = self._out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * path.count("/")
        text = self._environment.get_template(template).render(**{"title": None, **values}, up=up, path=path)
        target.write_text(text, encoding="utf-8")
        self.count += 1


def _group(rows: Sequence[Row]) -> tuple[dict[ArtifactKey, list[Row]], dict[str, list[Row]]]:
    """Group the rows by artifact and by device."""
    by_artifact: dict[ArtifactKey, list[Row]] = {}
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_artifact.setdefault((row.model, row.runtime, row.scheme), []).append(row)
        by_device.setdefault(row.device, []).append(row)
    return by_artifact, by_device


def _render_front(facts: Facts) -> Markup:
    """Return a table of each device's front in latency and quality, the fastest first."""
    names = ["p50", "quality"]
    keys = {key for device in facts.devices for key in facts.ranking.get_front(device, names)}
    rows = [row for row in facts.rows if row.key in keys][:MAX_SHOWN_ROWS]
    columns = ["quality", "size", "p50", "p99", "speed_up"]
    return render_table(
        rows,
        facts,
        "Artifacts that no other one beats in speed and quality",
        "front-",
        "",
        columns=columns,
        sort=["device", "p50"],
        best=False,
    )
