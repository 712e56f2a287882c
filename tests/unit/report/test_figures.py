"""The registry of figures: one heading and one format for each figure in every table."""

from __future__ import annotations

import dataclasses

import pytest

from edgeproof.report import families, tables
from edgeproof.report.figures import ESTIMATES, FIGURES, Figure
from edgeproof.report.row import Row
from edgeproof.sweeps import report as sweep_report

IDENTITY = {"device", "model", "runtime", "scheme", "NPU"}
# Columns about several points or a control, which are no figures of one row.
COMPARED = {"control", "Δ control, points", "MACs ratio", "speed-up", "artifact's scheme", "Pareto front", "result"}


@pytest.mark.parametrize("figure", [*FIGURES.values(), *ESTIMATES.values()], ids=lambda figure: figure.name)
def test_every_figure_is_read_from_a_field_of_a_row(figure: Figure) -> None:
    assert figure.field in {field.name for field in dataclasses.fields(Row)}


def test_headings_are_unique() -> None:
    titles = [figure.title for figure in FIGURES.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    "columns",
    [
        tables.COLUMNS,
        tables.EMULATED_COLUMNS,
        tables.ESTIMATED_COLUMNS,
        families.COLUMNS,
        sweep_report.COLUMNS,
    ],
    ids=["study", "emulated", "estimated", "families", "sweep"],
)
def test_every_table_takes_its_headings_from_the_registry(columns: list[object]) -> None:
    known = {figure.title for figure in (*FIGURES.values(), *ESTIMATES.values())}
    assert {column.heading for column in columns} <= known | IDENTITY | COMPARED  # type: ignore[attr-defined]
