"""Tables for people, on a terminal of a given width and in a file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeproof.records import record_files
from edgeproof.report import fitted_table, grids, interleaved, table_json, terminal_grid, terminal_table
from edgeproof.report.row import Row
from edgeproof.report.selections import Selection
from tests.support import record_trees
from tests.support.example_rows import REFUSED, about, row, several
from tests.support.project import ROOT

PATH = Path("results/tables/table.md")
ESCAPE = "\x1b["


def render(rows: Sequence[Row], width: int = 120, **options: Any) -> str:
    """Return what a terminal of this width shows."""
    settings = {"force_terminal": True, "no_color": True, **options}
    file = io.StringIO()
    console = Console(file=file, width=width, **settings)
    terminal_table.print_rows(rows, path=PATH, console=console)
    return file.getvalue()


def remove_styles(text: str) -> str:
    return "".join(part.partition("m")[2] if n else part for n, part in enumerate(text.split(ESCAPE)))


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_every_line_fits_the_terminal(width: int) -> None:
    committed = table_json.read_table_rows(ROOT / "results/tables/table.json")
    for rows in (several(), committed):
        lines = remove_styles(render(rows, width)).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) > len(rows)


def test_names_and_values_are_shown_in_full(width: int) -> None:
    models, schemes = ("teacher", "student_slim_w4"), ("fp32", "int8-dynamic")
    rows = [row(model, scheme, "openvino", speed_up=about(4.25)) for model in models for scheme in schemes]
    lines = [line.split() for line in remove_styles(render(rows, width)).splitlines()]
    for model in models:
        for scheme in schemes:
            assert any(
                line[:4] == [model, "openvino", scheme, "90.00"] and "4.25" in line and line[-1] == "valid"
                for line in lines
            )


def test_a_wide_terminal_shows_intervals_and_a_narrow_one_leaves_them_out() -> None:
    rows = several()[:2]
    assert "[" in remove_styles(render(rows, 120))
    assert "[" not in remove_styles(render(rows, 70)).partition("All figures")[0]


def test_a_table_has_about_seven_columns_and_none_that_is_empty_everywhere() -> None:
    whole = remove_styles(render([row(speed_up=about(2.0)), row("student")])).splitlines()
    headings = " ".join(whole[:2]).split()
    units = ["%", "KiB", "µs", "×"]
    names = ["model", "runtime", "scheme", "accuracy", "file", "p50", "speed-up", "verdict"]
    assert sorted(headings) == sorted([*names, *units])
    without = remove_styles(render([row(), row("student")]))
    assert "speed-up" not in without
    assert "device" not in without
    assert "device" in remove_styles(render([row(), row(device="board")]))


def test_refusals_are_listed_with_their_reasons_and_the_whole_table_is_named() -> None:
    text = remove_styles(render(several(), 200))
    assert f"- student tflite fp32: {'; '.join(REFUSED)}" in text
    assert "- teacher onnx int8-dynamic: no kernels" in text
    assert text.rstrip().endswith(f"All figures: {PATH}")


def test_emulated_and_estimated_rows_have_tables_of_their_own() -> None:
    emulated = row("board_model", p50_ns=None, emulated={"p50_ns": 98_765_000.0})
    estimate = {"cycles": 1234, "inference_ns": 5678, "sram_bytes": 1, "flash_bytes": 2, "npu_operators": 3}
    estimated = row("npu_model", p50_ns=None, npu="ethos-u55-128", estimate=estimate)
    text = remove_styles(render([row(), emulated, estimated]))
    measured, _, rest = text.partition("Emulated: answers measured, times not")
    assert "98,765" in rest
    assert "98,765" not in measured
    assert "npu_model" in rest.partition("Estimated, not measured")[2]
    assert "npu_model" not in measured


def test_text_of_a_device_cannot_control_the_terminal() -> None:
    text = render([row(verdict="error", reasons=(f"{ESCAPE}2J[red]gone[/red]",), p50_ns=None)], 200)
    assert f"{ESCAPE}2J" not in text
    assert "2J[red]gone[/red]" in text


def test_colours_need_a_terminal_and_respect_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    green = f"{ESCAPE}32m"
    colours = {"no_color": None, "color_system": "standard"}
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert green in render([row()], **colours)
    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in render([row()], **colours)


def test_a_file_gets_the_same_table_without_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    text = render(several(), force_terminal=False)
    assert ESCAPE not in text
    assert text.splitlines()[:3] == remove_styles(render(several())).splitlines()[:3]
    assert f"- student tflite fp32: {'; '.join(REFUSED)}" in render(several(), 60, force_terminal=False)


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("90", 90), ("wide", 120)])
def test_a_file_has_the_width_of_columns_or_120(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_table.os, "isatty", lambda descriptor: False)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert fitted_table.open_console().width == width


def test_a_study_prints_its_rows_and_the_path_of_the_whole_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal_table.print_study_table(ROOT / "results/tables")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:30])) <= 80
    assert lines[-1] == f"All figures: {ROOT / 'results/tables/table.md'}"


def test_a_narrow_terminal_leaves_out_columns_and_names_them() -> None:
    rows = [
        row(model, scheme, "openvino", speed_up=about(4.25))
        for model, scheme in (("student_slim_w4", "fp32"), ("teacher", "int8-dynamic"))
    ]
    text = remove_styles(render(rows, 60))
    assert max(map(len, text.splitlines())) <= 60
    assert "Left out of 60 columns: file, KiB; speed-up, ×." in text
    assert ["student_slim_w4", "openvino", "fp32", "90.00", "100.0", "valid"] in [
        line.split() for line in text.splitlines()
    ]
    assert "Left out" not in render(rows, 120)


def print_grid(width: int, **selection: Any) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False)
    terminal_grid.print_grid(grids.build_grid(several(), Selection(title="Mine", **selection)), console=console)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_report_fits_every_width(width: int) -> None:
    table = print_grid(width).partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert max(len(line) for line in table if not line.startswith("Left out")) <= width


def test_a_report_has_its_title_marks_captions_and_notes() -> None:
    text = print_grid(200, columns=["quality", "p50", "verdict"])
    assert text.startswith("Mine\n")
    assert "◆ " in text
    assert "*: the best estimate of its figure" in text
    assert "(1) " in text.partition("Brackets")[2]
    assert ESCAPE not in text


def test_a_report_says_once_what_all_rows_share() -> None:
    text = print_grid(120, devices=["local"], runtimes=["onnx"])
    assert "All rows: device local, runtime onnx." in text
    assert "device" not in text.partition("All rows")[0]


def test_a_report_without_rows_says_so() -> None:
    assert "No measurement matches this table." in print_grid(80, models=["none"])


def test_interleaved_comparisons_fit_the_terminal(tmp_path: Path, width: int) -> None:
    for process in range(8):
        record_trees.write_interleaved(tmp_path, math.log(1.1) + 0.001 * (-1) ** process, process, model="new")
    assert len(list(record_files.read_all(tmp_path))) == 8
    file = io.StringIO()
    terminal_table.print_comparisons(
        interleaved.read_comparisons(tmp_path),
        path=PATH,
        console=Console(file=file, width=width, force_terminal=True, no_color=True),
    )
    lines = remove_styles(file.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert any("1.1000" in line and "slower" in line for line in lines)
