"""The README's table and the sentences around it agree with the committed rows, by the definitions in the documents."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.committed_tables import list_tables
from tests.support.markdown_tables import read_cells

ROOT = Path(__file__).parents[2]
# For each heading: the field of a row, the factor to the unit of the heading, and 1 if less is better, -1 if more is.
COLUMNS = {
    "accuracy, %": ("quality", 100.0, -1),
    "file, KiB": ("size_bytes", 1 / 1024, 1),
    "p50, µs": ("p50_ns", 1e-3, 1),
}
RUNTIMES = ("tflite", "onnx", "openvino")
Entry = dict[str, Any]


def read_readme() -> tuple[str, list[dict[str, str]]]:
    """Return the README's text and the cells of its table by heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- table: begin -->")[2].partition("<!-- table: end -->")[0]
    return text, read_cells(table)


def find_table() -> list[Entry]:
    """Return the rows that the README shows: those of the possible tables whose medians it has."""
    _, cells = read_readme()
    for text in list_tables(ROOT):
        rows = [rename_former_fields(row) for row in json.loads(text)["rows"]]
        shown = [f"{find_row(rows, line)['size_bytes'] / 1024:,.1f}" in line["file, KiB"] for line in cells]
        medians = [
            math.isclose(read_number(line["p50, µs"]), find_row(rows, line)["p50_ns"]["value"] / 1000, rel_tol=0.02)
            for line in cells
        ]
        if all(shown) and all(medians):
            return rows
    raise AssertionError("README.md shows other rows than the committed ones. Run 'edgeproof report readme'.")


def rename_former_fields(row: Entry) -> Entry:
    """Return a row with the names of this version. Tables of schema 1 call a quality accuracy."""
    names = {"accuracy": "quality", "accuracy_difference": "quality_difference"}
    return {names.get(name, name): value for name, value in row.items()}


def find_row(rows: list[Entry], line: dict[str, str]) -> Entry:
    return next(row for row in rows if all(row[part] == line[part] for part in ("runtime", "model", "scheme")))


def read_number(cell: str) -> float:
    match = re.search(r"[\d,]+(?:\.\d+)?", cell)
    assert match is not None, cell
    return float(match[0].replace(",", ""))


def get_value(row: Entry, field: str) -> float | None:
    value = row[field]
    return value["value"] if isinstance(value, dict) else value


def is_better(one: Entry, other: Entry, field: str, sign: int) -> bool:
    """Return whether `one` is better beyond the 95% interval of the difference, by docs/statistics.md."""
    if field == "quality":
        for row, reference, direction in ((one, other, 1), (other, one, -1)):
            pair = row.get("reference")
            is_pair = pair and [reference["model"], reference["scheme"]] == list(pair)
            if is_pair and reference["runtime"] == row["runtime"] and row["quality_difference"]:
                difference = row["quality_difference"]
                return bool(difference["low"] > 0 if direction == 1 else difference["high"] < 0)
    a, b = ({key: sign * row[field][key] for key in ("value", "low", "high")} for row in (one, other))
    upper = max(a["low"], a["high"]) - a["value"]
    lower = b["value"] - min(b["low"], b["high"])
    return bool(b["value"] - a["value"] > math.sqrt(upper**2 + lower**2))


def beats(one: Entry, other: Entry) -> bool:
    fields = (("p50_ns", 1), ("quality", -1))
    return any(is_better(one, other, *field) for field in fields) and not any(
        is_better(other, one, *field) for field in fields
    )


def list_pairs() -> Iterator[tuple[dict[str, str], Entry, list[Entry]]]:
    """Yield each line of the README's table with its row and all measured rows."""
    rows = find_table()
    for line in read_readme()[1]:
        yield line, find_row(rows, line), rows


@pytest.mark.parametrize("heading", COLUMNS)
def test_the_readme_has_the_best_estimates_of_the_whole_device_in_bold_and_no_others(heading: str) -> None:
    field, _, sign = COLUMNS[heading]
    for line, row, rows in list_pairs():
        best = min(sign * value for other in rows if (value := get_value(other, field)) is not None)
        value = get_value(row, field)
        assert value is not None
        assert ("**" in line[heading]) == (sign * value == best), line


def test_every_diamond_of_the_readme_is_a_cell_that_no_diamond_of_the_device_beats() -> None:
    pairs = list(list_pairs())
    measured = [row for row in pairs[0][2] if row["p50_ns"] and row["quality"]]
    remaining, front = list(measured), []
    while remaining:
        fresh = [row for row in remaining if not any(beats(other, row) for other in remaining)]
        assert fresh, "cells beat one another in a circle: extend this test"
        front += fresh
        remaining = [row for row in remaining if row not in fresh and not any(beats(one, row) for one in fresh)]
    for line, row, _ in pairs:
        assert ("◆" in line["p50, µs"]) == (row in front), line
        assert "◆" not in "".join(cell for heading, cell in line.items() if heading != "p50, µs")


def test_the_readme_shows_the_controls_on_every_runtime() -> None:
    shown = {(line["runtime"], line["model"], line["scheme"]) for line in read_readme()[1]}
    models, schemes = ("teacher", "student_slim"), ("fp32", "int8-static")
    assert shown == {(runtime, model, scheme) for runtime in RUNTIMES for model in models for scheme in schemes}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_readmes_sentence_on_quantization_alone_holds_for_the_rows(runtime: str) -> None:
    rows = find_table()
    teacher, quantized, student = (
        find_row(rows, {"runtime": runtime, "model": model, "scheme": scheme})
        for model, scheme in (("teacher", "fp32"), ("teacher", "int8-static"), ("student_slim", "int8-static"))
    )
    assert "less than half a point of accuracy" in " ".join(read_readme()[0].split())
    assert abs(quantized["quality"]["value"] - teacher["quality"]["value"]) < 0.005
    assert teacher["p50_ns"]["value"] / quantized["p50_ns"]["value"] > 1.5
    assert 0.005 < teacher["quality"]["value"] - student["quality"]["value"] < 0.015
    assert student["size_bytes"] < quantized["size_bytes"] / 2


@pytest.mark.parametrize("runtime", ["onnx"])
def test_the_readmes_sentence_on_the_student_in_fp32_holds_for_the_rows(runtime: str) -> None:
    assert "On ONNX Runtime the student is not slower in fp32" in " ".join(read_readme()[0].split())
    rows = find_table()
    plain, quantized = (
        find_row(rows, {"runtime": runtime, "model": "student_slim", "scheme": scheme})
        for scheme in ("fp32", "int8-static")
    )
    assert not is_better(quantized, plain, "p50_ns", 1)
    assert quantized["size_bytes"] < plain["size_bytes"]
