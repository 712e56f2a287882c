"""Placements in tables: the column, the filter, the budget and the reasons below the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeproof.records.placement import Fallback, PlacementSummary
from edgeproof.report import row_data, tables
from edgeproof.report.budgets import check_budget
from edgeproof.report.grids import build_grid
from edgeproof.report.row import Row
from edgeproof.report.selections import Selection
from tests.support.example_rows import PLAIN
from tests.support.markdown_tables import read_cells

WHOLE = replace(PLAIN, model="whole", placement=PlacementSummary(13, 13))
PARTIAL = replace(
    PLAIN, model="partial", placement=PlacementSummary(12, 13, (Fallback("SOFTMAX", "LiteRT", "no kernel", 1, ("p",)),))
)
UNKNOWN = replace(PLAIN, model="unknown")


def show(rows: list[Row]) -> str:
    return tables.format_study_table(rows, study="s", baseline="whole")


def test_the_column_counts_operators_and_is_left_out_where_nothing_is_known() -> None:
    shown = {cells["model"]: cells["placement"] for cells in read_cells(show([WHOLE, PARTIAL, UNKNOWN]))}
    assert shown == {"whole": "13 of 13", "partial": "12 of 13", "unknown": "–"}
    assert "placement" not in read_cells(show([UNKNOWN]))[0]


@pytest.mark.parametrize(
    ("placement", "models"),
    [(None, ["whole", "partial", "unknown"]), ("complete", ["whole"]), ("partial", ["partial"])],
)
def test_the_filter_shows_artifacts_with_or_without_fallbacks(placement: str | None, models: list[str]) -> None:
    chosen = Selection(columns=["placement"], placement=placement)  # type: ignore[arg-type]
    grid = build_grid([WHOLE, PARTIAL, UNKNOWN], chosen)
    assert [line[1].value for line in grid.lines] == models


def test_the_reasons_of_fallbacks_are_notes_of_the_table() -> None:
    grid = build_grid([WHOLE, PARTIAL], Selection(columns=["placement"]))
    assert grid.notes == ["1 × SOFTMAX on LiteRT: no kernel (p)"]


@pytest.mark.parametrize(
    ("row", "limit", "outcome", "reasons"),
    [
        (WHOLE, 1.0, "within", ()),
        (PARTIAL, 12 / 13, "within", ()),
        (PARTIAL, 0.95, "exceeded", ("placement is 12 of 13 operators, 0.9231 (limit 0.95)",)),
        (UNKNOWN, 0.5, "unknown", ("placement is not known",)),
    ],
)
def test_a_budget_gates_the_share_of_placed_operators(
    row: Row, limit: float, outcome: str, reasons: tuple[str, ...]
) -> None:
    gate = check_budget(row, {"min_placement": limit})
    assert gate is not None
    assert (gate.outcome, gate.reasons) == (outcome, reasons)
    assert check_budget(row, {"min_placement": limit, "size_mb": 1e-9}).outcome == "exceeded"  # type: ignore[union-attr]


def test_a_row_with_a_placement_survives_table_json_and_table_csv() -> None:
    content = row_data.describe_rows([PARTIAL, UNKNOWN], study="s")["rows"]
    assert [Row.from_dict(entry) for entry in content] == [PARTIAL, UNKNOWN]
    columns = row_data.flatten_row(PARTIAL)
    assert (columns["operators"], columns["operators_placed"]) == (13, 12)
    assert columns["fallbacks"] == "1 × SOFTMAX on LiteRT: no kernel (p)"
