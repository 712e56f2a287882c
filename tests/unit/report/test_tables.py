"""One set of rows as Markdown, CSV and JSON that agree, with nothing a record says taken for markup."""

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

from edgeproof.records.csv_text import escape_formula
from edgeproof.report import row_data, tables
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from edgeproof.statistics.estimates import Estimate
from tests.support import record_trees

PLAIN = Row(
    device="local",
    runtime="onnx",
    model="teacher",
    scheme="fp32",
    method="train",
    parent=None,
    teacher=None,
    verdict="valid",
    reasons=(),
    parameters=1234567,
    macs=2000,
    weight_sparsity=0.125,
    artifact_sha256="0" * 64,
    size_bytes=1536,
    gzip_bytes=512,
    accuracy=Estimate(0.5, 0.25, 0.75),
    p50_ns=Estimate(123456.0, 120000.0, 126000.0),
    threads=1,
    processes=3,
    session=4,
    measured_at="2026-01-02",
    cpu="A Processor",
    versions={"numpy": "2.0"},
)


def cells(text: str) -> list[dict[str, str]]:
    """The Markdown table of a text as GitHub reads it: rows of cells, by heading."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(re.fullmatch("-+", cell) for cell in table[1])
    assert {len(row) for row in table} == {len(table[0])}
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def markdown(*found: Row) -> str:
    return tables.format_study_table(found, study="study", baseline="teacher")


@pytest.fixture
def found(tmp_path: Path) -> list[Row]:
    """A valid row, one whose latency was refused, one that is unsupported, and one measured by a single process."""
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
    record_trees.unsupported(tmp_path, "no kernels", scheme="int8-dynamic")
    record_trees.write(tmp_path, model="student", call_ns=rng.lognormal(8, 0.1, 700))
    record_trees.write(tmp_path, "offline", model="student", log={"result_samples_per_second": 4321.0})
    order = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx"]}
    return read_rows(tmp_path, baseline="teacher", order=order)


# --- agreement -----------------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    return None if text in ("", "–", "nan") else float(text.split(" ")[0].replace(",", "").rstrip("×"))


def test_markdown_csv_and_json_tell_the_same(found: list[Row]) -> None:
    shown = cells(tables.format_study_table(found, study="study", baseline="teacher"))
    flat = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(found))))
    plain = json.loads(json.dumps(row_data.describe_rows(found, study="study"), allow_nan=False))["rows"]
    assert len(found) == len(shown) == len(flat) == len(plain) == 4
    columns = {
        "accuracy, %": ("accuracy", 100),
        "Δ accuracy, points": ("accuracy_difference", 100),
        "p50, µs": ("p50_ns", 1e-3),
        "p99, µs": ("p99_ns", 1e-3),
        "speed-up, ×": ("speed_up", 1),
        "load, ms": ("load_ns", 1e-6),
        "Offline, samples/s": ("offline_samples_per_s", 1),
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


def test_every_figure_of_every_row_is_in_the_csv_and_the_json(found: list[Row]) -> None:
    flat = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(found))))
    plain = row_data.describe_rows(found, study="study")["rows"]
    for row, two, three in zip(found, flat, plain, strict=True):
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


def test_an_interval_that_is_not_known_is_missing_in_every_form() -> None:
    row = replace(PLAIN, offline_samples_per_s=Estimate(10.0, math.nan, math.nan))
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row])))
    content = row_data.describe_rows([row], study="study")
    assert content["rows"][0]["offline_samples_per_s"] == {"value": 10.0, "low": None, "high": None}
    assert (flat["offline_samples_per_s"], flat["offline_samples_per_s_low"]) == ("10.0", "")
    assert "nan" not in markdown(row).lower()


def test_the_tables_are_the_same_text_for_the_same_rows(found: list[Row]) -> None:
    assert markdown(*found) == markdown(*found)
    assert row_data.format_rows_as_csv(found) == row_data.format_rows_as_csv(list(found))


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
    (row,) = cells(markdown(replace(PLAIN, p50_ns=estimate)))
    assert row["p50, µs"] == cell


def test_shares_sizes_and_counts_are_shown_in_the_units_of_their_headings() -> None:
    (row,) = cells(markdown(replace(PLAIN, peak_rss_bytes=3 * 2**20, load_ns=Estimate(2.5e6, math.nan, math.nan))))
    assert row["accuracy, %"] == "50.00 [25.00, 75.00]"
    assert row["parameters"] == "1,234,567"
    assert row["zeros, %"] == "12.5"
    assert (row["file, KiB"], row["gzip, KiB"]) == ("1.5", "0.5")
    assert row["peak memory, MiB"] == "3"
    assert row["load, ms"] == "2.50"


@pytest.mark.parametrize(
    ("parent", "teacher", "cell"),
    [(None, None, "–"), ("big", None, "big"), (None, "wise", "teacher wise"), ("big", "wise", "big + teacher wise")],
)
def test_a_row_says_what_its_model_was_made_from(parent: str | None, teacher: str | None, cell: str) -> None:
    (row,) = cells(markdown(replace(PLAIN, parent=parent, teacher=teacher)))
    assert row["from"] == cell


def test_what_was_refused_is_listed_with_its_reason_below_the_table(found: list[Row]) -> None:
    text = markdown(*found)
    assert "- `local` `teacher` onnx int8-static: single_stream 2: LoadGen: too short" in text
    assert "- `local` `teacher` onnx int8-dynamic: no kernels" in text
    assert "Refused" not in markdown(PLAIN)


def test_what_exports_remark_is_listed_once_below_the_table() -> None:
    noted = replace(PLAIN, notes=("weights of 1 CONV_2D left in fp32", "clipped"))
    text = markdown(noted, replace(noted, device="board"), replace(PLAIN, model="student"))
    lines = [line for line in text.splitlines() if "CONV_2D" in line]
    assert lines == ["- `teacher` onnx fp32: weights of 1 CONV_2D left in fp32; clipped"]
    assert "Remarks" not in markdown(PLAIN)
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([noted])))
    assert flat["notes"] == "weights of 1 CONV_2D left in fp32; clipped"
    assert row_data.describe_rows([noted], study="study")["rows"][0]["notes"] == list(noted.notes)


def test_facts_that_nobody_knows_of_a_foreign_model_are_dashes_and_null() -> None:
    row = replace(PLAIN, parameters=None, macs=None, weight_sparsity=None, notes=("no accuracy: none asked",))
    text = tables.format_study_table([row], study="s", baseline="teacher", baseline_scheme="as-is")
    (cell,) = cells(text)
    assert (cell["parameters"], cell["MACs"], cell["zeros, %"]) == ("–", "–", "–")
    assert "- `teacher` onnx fp32: no accuracy: none asked\n" in text
    assert "are against `teacher` in as-is on the same device" in text
    (told,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row])))
    assert (told["parameters"], told["macs"], told["weight_sparsity"]) == ("", "", "")
    assert row_data.describe_rows([row], study="s")["rows"][0]["macs"] is None


def test_the_conditions_name_processor_threads_versions_session_and_date_once_for_rows_alike() -> None:
    text = markdown(PLAIN, replace(PLAIN, model="student"))
    (line,) = [line for line in text.splitlines() if line.startswith("- `local`")]
    for part in ("A Processor", "1 thread", "onnx", "numpy 2.0", "session 4", "3 process", "2026-01-02"):
        assert part in line


def test_each_devices_conditions_carry_its_own_date() -> None:
    board = replace(PLAIN, device="board", measured_at="2026-05-05")
    lines = [line for line in markdown(PLAIN, board).splitlines() if line.startswith("- `")]
    dates = {line.split("`")[1]: re.findall(r"2026-\d\d-\d\d", line) for line in lines}
    assert dates == {"local": ["2026-01-02"], "board": ["2026-05-05"]}


def test_no_rows_make_an_empty_table_and_no_failure() -> None:
    assert cells(markdown()) == []
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
    assert len(cells(text)) == 2
    assert "<script" not in text


@pytest.mark.parametrize("changes", [{"reasons": (HOSTILE,)}, {"notes": (HOSTILE,)}, {"versions": {"numpy": HOSTILE}}])
def test_hostile_reasons_and_versions_do_not_become_markup(changes: dict[str, Any]) -> None:
    text = markdown(replace(PLAIN, **changes))
    assert len(cells(text)) == 1
    assert "<script" not in text


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), max_size=30)


@given(lines)
@example("a\rb")
def test_any_text_stays_in_its_cell_and_its_line(text: str) -> None:
    (row,) = cells(markdown(replace(PLAIN, method=text)))
    assert len(row) == len(tables.COLUMNS)
    table = next(line for line in markdown(replace(PLAIN, method=text)).split("\n") if line.startswith("| local"))
    assert "\r" not in table  # a line ending too, to CommonMark


@given(lines)
@example("a\rb")
def test_any_reason_is_unchanged_in_the_csv_and_the_json_apart_from_escaped_formulas(text: str) -> None:
    row = replace(PLAIN, reasons=(text,))
    (flat,) = csv.DictReader(io.StringIO(row_data.format_rows_as_csv([row]), newline=""))
    assert flat["reasons"] == escape_formula(text)
    content = json.loads(json.dumps(row_data.describe_rows([row], study="study")))
    assert content["rows"][0]["reasons"] == [text]
