"""Write rows as Markdown, CSV and JSON: all agree, and no text of a record becomes markup."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproof.records.csv_text import escape_cell
from edgeproof.report import row_data, tables
from edgeproof.report.markdown_text import select_filled_columns
from edgeproof.report.row import Row
from edgeproof.report.row_data import describe_rows, format_rows_as_csv
from edgeproof.report.rows import read_rows
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support import record_trees
from tests.support.example_rows import PLAIN
from tests.support.markdown_tables import read_cells


def markdown(*rows: Row) -> str:
    return tables.format_study_table(rows, study="study", baseline="teacher")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Return a valid row, one with a refused latency, an unsupported one, and one of a single process."""
    rng = np.random.default_rng(0)
    for process in range(3):
        for scheme, factor in (("fp32", 4), ("int8-static", 1)):
            refused = scheme == "int8-static" and process == 2
            record_trees.write(
                tmp_path,
                scheme=scheme,
                process=process,
                call_ns=rng.lognormal(9, 0.1, 700) * factor,
                verdict="invalid" if refused else "valid",
                reasons=["LoadGen: too short"] if refused else [],
            )
    for scheme in ("fp32", "int8-static"):
        record_trees.write(tmp_path, "accuracy", scheme=scheme, correct=rng.random(200) < 0.9)
    record_trees.write_unsupported(tmp_path, "no kernels", scheme="int8-dynamic")
    record_trees.write(tmp_path, model="student", call_ns=rng.lognormal(8, 0.1, 700))
    record_trees.write(tmp_path, "offline", model="student", log={"result_samples_per_second": 4321.0})
    order = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx"]}
    return read_rows(tmp_path, baseline="teacher", order=order)


# --- agreement -----------------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    return None if text in ("", "–", "nan") else float(text.split(" ")[0].replace(",", "").rstrip("×"))


def test_markdown_csv_and_json_agree(rows: list[Row]) -> None:
    shown = read_cells(tables.format_study_table(rows, study="study", baseline="teacher"))
    flat = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(rows))))
    plain = json.loads(json.dumps(row_data.describe_rows(rows, study="study"), allow_nan=False))["rows"]
    assert len(rows) == len(shown) == len(flat) == len(plain) == 4
    columns = {
        "accuracy, %": ("quality", 100),
        "Δ accuracy, points": ("quality_difference", 100),
        "p50, µs": ("p50_ns", 1e-3),
        "p99, µs": ("p99_ns", 1e-3),
        "speed-up, ×": ("speed_up", 1),
        "load, ms": ("load_ns", 1e-6),
        "Offline at batch 1, samples/s": ("offline_samples_per_s", 1),
    }
    for one, two, three in zip(shown, flat, plain, strict=True):
        for key in ("device", "model", "runtime", "scheme"):
            assert one[key] == two[key] == three[key]
        assert two["verdict"] == three["verdict"]
        # People also see which scenarios were refused.
        assert one["verdict"] == ("invalid (single_stream)" if two["verdict"] == "invalid" else two["verdict"])
        for heading, (name, unit) in columns.items():
            if three[name] is None:
                assert one[heading] == "–"
                assert two[name] == two[f"{name}_low"] == two[f"{name}_high"] == ""
                continue
            assert number(two[name]) == three[name]["value"]
            assert number(one[heading]) == pytest.approx(three[name]["value"] * unit, rel=0.01, abs=0.006)
        assert number(one["file, KiB"]) == (None if three["size_bytes"] is None else three["size_bytes"] / 1024)
        assert number(two["size_bytes"]) == three["size_bytes"]


def test_every_figure_of_every_row_is_in_the_csv_and_the_json(rows: list[Row]) -> None:
    flat = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(rows))))
    plain = row_data.describe_rows(rows, study="study")["rows"]
    for row, two, three in zip(rows, flat, plain, strict=True):
        for name, value in vars(row).items():
            if isinstance(value, Estimate):
                assert (float(two[name]), three[name]["value"]) == (value.value, value.value)
                if not math.isnan(value.low):
                    assert (float(two[f"{name}_low"]), float(two[f"{name}_high"])) == (value.low, value.high)
                    assert (three[name]["low"], three[name]["high"]) == (value.low, value.high)
            elif value is None:
                assert two.get(name, "") == ""
                assert three[name] is None
            elif isinstance(value, str | int | float):
                assert two[name] == str(value)
                assert three[name] == value


def test_an_unknown_interval_is_missing_in_every_format() -> None:
    row = replace(PLAIN, offline_samples_per_s=Estimate(10.0, math.nan, math.nan))
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row])))
    content = row_data.describe_rows([row], study="study")
    assert content["rows"][0]["offline_samples_per_s"] == {"value": 10.0, "low": None, "high": None}
    assert (flat["offline_samples_per_s"], flat["offline_samples_per_s_low"]) == ("10.0", "")
    assert "nan" not in markdown(row).lower()


def test_the_tables_are_the_same_text_for_the_same_rows(rows: list[Row]) -> None:
    assert markdown(*rows) == markdown(*rows)
    assert row_data.format_rows_as_csv(rows) == row_data.format_rows_as_csv(list(rows))


# --- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "cell"),
    [
        (Estimate(123456.0, 120000.0, 126000.0), "123.5 [120.0, 126.0]"),
        (Estimate(1_234_567.0, 1_000_000.0, 1_400_000.0), "1,235 [1,000, 1,400]"),
        (Estimate(7902.0, 7892.0, 7912.0), "7.902 [7.892, 7.912]"),
        (Estimate(5000.0, 5000.0, 5000.0), "5 [5, 5]"),
        (Estimate(47_400.0, 40_700.0, 56_500.0), "47.4 [40.7, 56.5]"),
        (None, "–"),
    ],
)
def test_a_latency_has_the_digits_that_its_interval_deserves(estimate: Estimate | None, cell: str) -> None:
    row, _ = read_cells(markdown(replace(PLAIN, p50_ns=estimate), PLAIN))
    assert row["p50, µs"] == cell


def test_shares_sizes_and_counts_are_shown_in_the_units_of_their_headings() -> None:
    (row,) = read_cells(markdown(replace(PLAIN, peak_rss_bytes=3 * 2**20, load_ns=Estimate(2.5e6, math.nan, math.nan))))
    assert row["accuracy, %"] == "50.00 [25.00, 75.00]"
    assert row["parameters"] == "1,234,567"
    assert row["zeros, %"] == "12.5"
    assert (row["file, KiB"], row["gzip, KiB"]) == ("1.5", "0.5")
    assert row["peak memory, MiB"] == "3"
    assert row["load, ms"] == "2.50"


@pytest.mark.parametrize(
    ("parent", "teacher", "cell"),
    [(None, None, "–"), ("big", None, "big"), (None, "wise", "taught by wise"), ("big", "wise", "big, taught by wise")],
)
def test_a_row_names_parent_and_teacher_of_its_model(parent: str | None, teacher: str | None, cell: str) -> None:
    row, _ = read_cells(markdown(replace(PLAIN, parent=parent, teacher=teacher), replace(PLAIN, parent="other")))
    assert row["from"] == cell


def test_columns_that_are_empty_for_every_row_are_left_out() -> None:
    (plain,) = read_cells(markdown(PLAIN))
    assert "–" not in plain.values()
    assert not {"from", "energy, µJ", "budget"} & plain.keys()
    rows = read_cells(markdown(PLAIN, replace(PLAIN, energy_uj=Estimate(5.0, 4.0, 6.0))))
    assert [row["energy, µJ"] for row in rows] == ["–", "5.0 [4.0, 6.0]"]


def test_refusals_are_listed_with_their_reasons_below_the_table(rows: list[Row]) -> None:
    text = markdown(*rows)
    assert "- `local` `teacher` onnx int8-static: single_stream 2: LoadGen: too short" in text
    assert "- `local` `teacher` onnx int8-dynamic: no kernels" in text
    assert "Refused" not in markdown(PLAIN)


def test_remarks_of_exports_are_listed_once_below_the_table() -> None:
    noted = replace(PLAIN, notes=("weights of 1 CONV_2D left in fp32", "clipped"))
    text = markdown(noted, replace(noted, device="board"), replace(PLAIN, model="student"))
    lines = [line for line in text.splitlines() if "CONV_2D" in line]
    assert lines == ["- `teacher` onnx fp32: weights of 1 CONV_2D left in fp32; clipped"]
    assert "Remarks" not in markdown(PLAIN)
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([noted])))
    assert flat["notes"] == "weights of 1 CONV_2D left in fp32; clipped"
    assert row_data.describe_rows([noted], study="study")["rows"][0]["notes"] == list(noted.notes)


def test_unknown_facts_of_an_external_model_have_no_column_and_are_null() -> None:
    row = replace(PLAIN, parameters=None, macs=None, weight_sparsity=None, notes=("no accuracy: none asked",))
    text = tables.format_study_table([row], study="s", baseline="teacher", baseline_scheme="as-is")
    (cell,) = read_cells(text)
    assert not {"parameters", "MACs", "zeros, %"} & cell.keys()
    assert "- `teacher` onnx fp32: no accuracy: none asked\n" in text
    assert "are against `teacher` in as-is on the same device" in text
    (line,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row])))
    assert (line["parameters"], line["macs"], line["weight_sparsity"]) == ("", "", "")
    assert row_data.describe_rows([row], study="s")["rows"][0]["macs"] is None


def test_rows_with_the_same_conditions_share_one_line_of_conditions() -> None:
    text = markdown(PLAIN, replace(PLAIN, model="student"))
    (line,) = [line for line in text.splitlines() if line.startswith("- `local`")]
    for part in ("A Processor", "1 thread", "onnx", "numpy 2.0", "session 4", "3 process", "2026-01-02"):
        assert part in line


def test_each_devices_conditions_carry_its_own_date() -> None:
    board = replace(PLAIN, device="board", measured_at="2026-05-05")
    lines = [line for line in markdown(PLAIN, board).splitlines() if line.startswith("- `")]
    dates = {line.split("`")[1]: re.findall(r"2026-\d\d-\d\d", line) for line in lines}
    assert dates == {"local": ["2026-01-02"], "board": ["2026-05-05"]}


def test_no_rows_make_empty_tables() -> None:
    assert read_cells(markdown()) == []
    assert list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv([])))) == []
    assert row_data.describe_rows([], study="study")["rows"] == []


# --- hostile text --------------------------------------------------------------------------------------------------

HOSTILE = "a | b <script>alert(1)</script>\nc"


@pytest.mark.parametrize(
    "field", ["device", "runtime", "model", "scheme", "method", "parent", "teacher", "verdict", "cpu"]
)
def test_hostile_text_in_any_field_neither_breaks_the_table_nor_becomes_markup(field: str) -> None:
    row = replace(PLAIN, **{field: HOSTILE})
    text = markdown(row, replace(row, reasons=("refused",)))
    assert len(read_cells(text)) == 2
    assert "<script" not in text


@pytest.mark.parametrize("changes", [{"reasons": (HOSTILE,)}, {"notes": (HOSTILE,)}, {"versions": {"numpy": HOSTILE}}])
def test_hostile_reasons_and_versions_do_not_become_markup(changes: dict[str, Any]) -> None:
    text = markdown(replace(PLAIN, **changes))
    assert len(read_cells(text)) == 1
    assert "<script" not in text


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), max_size=30)


@given(lines)
@example("a\rb")
def test_any_text_stays_in_its_cell_and_its_line(text: str) -> None:
    (row,) = read_cells(markdown(replace(PLAIN, method=text)))
    assert len(row) == len(select_filled_columns([replace(PLAIN, method=text)], tables.list_columns([PLAIN])))
    table = next(line for line in markdown(replace(PLAIN, method=text)).split("\n") if line.startswith("| local"))
    assert "\r" not in table  # a line ending too, to CommonMark


@given(lines)
@example("a\rb")
def test_any_reason_is_unchanged_in_the_csv_and_the_json_apart_from_escaped_formulas(text: str) -> None:
    row = replace(PLAIN, reasons=(text,))
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row]), newline=""))
    assert flat["reasons"] == escape_cell(text)
    content = json.loads(json.dumps(row_data.describe_rows([row], study="study")))
    assert content["rows"][0]["reasons"] == [text]


RMSE: dict[str, Any] = {"metric_name": "rmse", "metric": Metric("RMSE", "mm", digits=2, better="less")}


def test_the_table_of_a_regression_has_its_metrics_heading_unit_interval_and_direction() -> None:
    measured = replace(PLAIN, quality=Estimate(3.0, 2.5, 3.5), quality_difference=Estimate(0.5, 0.25, 0.75), **RMSE)
    text = markdown(measured)
    (cells,) = read_cells(text)
    assert cells["RMSE, mm"] == "3.00 [2.50, 3.50]"
    assert cells["Δ RMSE, mm"] == "+0.50 [+0.25, +0.75]"
    assert "bootstrap percentiles for RMSE, paired for its difference, Student's t" in text
    assert "Lower is better for RMSE." in text
    assert "accuracy" not in text


def test_the_caption_of_accuracy_is_that_of_earlier_versions() -> None:
    text = markdown(PLAIN)
    assert "Brackets are 95% intervals: Wilson's for accuracy, paired for its difference, Student's t over" in text
    assert "is better in" not in text


def test_data_for_programs_has_the_metric_and_qualities_in_its_natural_unit() -> None:
    measured = replace(PLAIN, quality=Estimate(3.0, 2.5, 3.5), **RMSE)
    (line,) = csv.DictReader(io.StringIO(format_rows_as_csv([measured])))
    assert [line[name] for name in ("metric_name", "metric_unit", "metric_better", "quality", "quality_low")] == [
        *("rmse", "mm", "less"),
        *("3.0", "2.5"),
    ]
    content = describe_rows([measured], study="s")
    assert content["schema"] == 2
    assert Row.from_dict(json.loads(json.dumps(content))["rows"][0]) == measured
