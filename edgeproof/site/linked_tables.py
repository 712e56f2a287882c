"""Tables of rows in pages: with links to artifacts and devices, and of a compiler's estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from edgeproof.report import grids
from edgeproof.report.formats import html
from edgeproof.report.markdown_text import select_filled_columns
from edgeproof.report.row import Row
from edgeproof.report.selections import Selection
from edgeproof.report.tables import ESTIMATED_COLUMNS, ESTIMATED_NOTES
from edgeproof.site.facts import Facts
from edgeproof.site.links import artifact_page, device_page


@dataclass(frozen=True)
class EstimateTable:
    """Table of what a compiler estimates. `reasons` has the model, the scheme and the reason of each refused row."""

    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    reasons: Sequence[tuple[str, str, str]]
    notes: str


def render_table(rows: Sequence[Row], facts: Facts, title: str, prefix: str, up: str, /, **selection: Any) -> Markup:
    """Return a table of rows as markup, with escaped texts and with links.

    Marks come from the ranking of all rows of the devices. `prefix` makes ids unique on a page, `up` leads from
    the page to the root of the site, `selection` are fields of Selection.
    """
    grid = grids.build_grid(rows, Selection.model_validate({"title": title, **selection}), facts.ranking)
    links = [
        {
            "device": up + device_page(row["device"]),
            "model": up + artifact_page((row["model"], row["runtime"], row["scheme"])),
        }
        for row in grid.data
    ]
    return Markup(html.render_table(_show_device_titles(grid, facts), prefix, links))


def _show_device_titles(grid: grids.Grid, facts: Facts) -> grids.Grid:
    """Return the grid with the titles of the devices in place of their names."""
    indices = [index for index, heading in enumerate(grid.headings[: grid.stubs]) if heading.text == "device"]
    lines = [list(line) for line in grid.lines]
    for line in lines:
        for index in indices:
            line[index] = replace(line[index], value=facts.get_device_title(line[index].value))
    return replace(grid, lines=lines)


def split_estimated(rows: Sequence[Row]) -> tuple[list[Row], EstimateTable]:
    """Separate measured rows from estimated ones, which have a table of their own."""
    measured = [row for row in rows if row.npu is None]
    estimated = [row for row in rows if row.npu is not None]
    columns = select_filled_columns(estimated, ESTIMATED_COLUMNS)
    table = EstimateTable(
        headings=[column.heading for column in columns],
        lines=[[column.cell(row) for column in columns] for row in estimated],
        reasons=[(row.model, row.scheme, "; ".join(row.reasons)) for row in estimated if row.reasons],
        notes=ESTIMATED_NOTES,
    )
    return measured, table
