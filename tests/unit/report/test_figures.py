"""The registry of figures: one heading and one format for each figure in every table."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from edgeproof.report import families, tables
from edgeproof.report.figure import Figure
from edgeproof.report.figures import ESTIMATES, FIGURES, choose_figure
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from edgeproof.sweeps import report as sweep_report
from tests.support.example_rows import PLAIN, row

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
        tables.list_columns([PLAIN]),
        tables.list_emulated_columns([PLAIN]),
        tables.ESTIMATED_COLUMNS,
        families.list_columns(families.build_family_rows([PLAIN], {"any": {PLAIN.model: None}})),
        sweep_report.list_columns([]),
    ],
    ids=["study", "emulated", "estimated", "families", "sweep"],
)
def test_every_table_takes_its_headings_from_the_registry(columns: list[object]) -> None:
    of_accuracy = (choose_figure(name, [PLAIN]) for name in FIGURES)
    known = {figure.title for figure in (*FIGURES.values(), *ESTIMATES.values(), *of_accuracy)}
    assert {column.heading for column in columns} <= known | IDENTITY | COMPARED  # type: ignore[attr-defined]


# --- the figures of a quality ----------------------------------------------------------------------------------------

AUC = {"metric_name": "auc", "metric": Metric("AUC", digits=3)}
RMSE = {"metric_name": "rmse", "metric": Metric("RMSE", "mm", digits=2, better="less")}


def test_rows_of_accuracy_have_the_headings_and_numbers_of_earlier_versions() -> None:
    rows = [row(quality_difference=Estimate(0.0123, -0.001, 0.0256))]
    quality, difference = choose_figure("quality", rows), choose_figure("quality_difference", rows)
    assert (quality.title, difference.title) == ("accuracy, %", "Δ accuracy, points")
    assert quality.format_row(rows[0]) == ("90.00", "[88.00, 92.00]")
    assert difference.format_row(rows[0]) == ("+1.23", "[-0.10, +2.56]")
    assert (quality.better, difference.better) == ("more", None)


@pytest.mark.parametrize(
    ("of_metric", "titles", "texts", "better"),
    [
        (AUC, ("AUC", "Δ AUC"), ("0.853 [0.840, 0.867]", "+0.012 [-0.001, +0.026]"), "more"),
        (RMSE, ("RMSE, mm", "Δ RMSE, mm"), ("0.85 [0.84, 0.87]", "+0.01 [-0.00, +0.03]"), "less"),
    ],
    ids=["AUC", "RMSE"],
)
def test_a_quality_takes_its_heading_unit_digits_and_direction_from_the_metric(
    of_metric: dict[str, Any], titles: tuple[str, str], texts: tuple[str, str], better: str
) -> None:
    measured = row(
        quality=Estimate(0.853, 0.8401, 0.8666), quality_difference=Estimate(0.0123, -0.001, 0.0256), **of_metric
    )
    figures = [choose_figure(name, [measured]) for name in ("quality", "quality_difference")]
    assert tuple(figure.title for figure in figures) == titles
    assert tuple(figure.format_row_cell(measured) for figure in figures) == texts
    assert figures[0].better == better


def test_cells_of_rows_with_several_metrics_name_their_metric_and_unit() -> None:
    rows = [row(), row(quality=Estimate(0.853, 0.84, 0.867), **AUC), row(quality=Estimate(4.0, 3.5, 4.5), **RMSE)]
    figure = choose_figure("quality", rows)
    assert figure.title == "quality"
    assert [figure.format_row_cell(each) for each in rows] == [
        "accuracy 90.00% [88.00, 92.00]",
        "AUC 0.853 [0.840, 0.867]",
        "RMSE 4.00 mm [3.50, 4.50]",
    ]


def test_a_table_without_any_metric_has_the_heading_quality() -> None:
    unknown = row(quality=None, metric=None, metric_name=None)
    assert choose_figure("quality", [unknown]).title == "quality"
    assert choose_figure("quality", [unknown]).format_row_cell(unknown) == "–"


def test_a_quality_without_an_interval_has_no_brackets() -> None:
    exact = row(quality=Estimate(0.853, math.nan, math.nan), **AUC)
    assert choose_figure("quality", [exact]).format_row_cell(exact) == "0.853"
