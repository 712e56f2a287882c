"""Lay rows out as a grid: lines, columns, marks and notes of every format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.config.validation import validate
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.report import grid_marks, grids
from edgeproof.report.figures import FIGURES
from edgeproof.report.fronts import find_front
from edgeproof.report.grids import Grid, TableCell
from edgeproof.report.row import Row
from edgeproof.report.selections import Selection
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support.example_rows import CONDITIONS, about, row, several

RMSE: dict[str, Any] = {"metric_name": "rmse", "metric": Metric("RMSE", "mm", digits=2, better="less")}


def build(*given: list[Row], **chosen: Any) -> Grid:
    return grids.build_grid(given[0] if given else several(), validate(Selection, chosen, "test"))


def column(grid: Grid, heading: str, group: str = "") -> list[TableCell]:
    place = next(n for n, each in enumerate(grid.headings) if (each.text, each.group) == (heading, group))
    return [line[place] for line in grid.lines]


def stubs(grid: Grid) -> list[str]:
    return [" ".join(cell.value for cell in line[: grid.stubs]) for line in grid.lines]


# --- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"devices": ["board"]}, {("board", "onnx", "teacher", "fp32")}),
        ({"runtimes": ["tflite"]}, {("local", "tflite", "student", "fp32")}),
        ({"models": ["student"], "schemes": ["int8-static"]}, {("local", "onnx", "student", "int8-static")}),
        ({"artifacts": ["teacher int8-dynamic"]}, {("local", "onnx", "teacher", "int8-dynamic")}),
        ({"models": ["none"]}, set()),
    ],
)
def test_a_selection_shows_its_rows_and_no_others(chosen: dict[str, Any], expected: set[Any]) -> None:
    grid = build(**chosen)
    assert {(datum["device"], datum["runtime"], datum["model"], datum["scheme"]) for datum in grid.data} == expected
    assert len(grid.lines) == len(expected)


def test_figures_of_unselected_scenarios_are_left_out() -> None:
    grid = build(columns=["quality", "size", "p50", "offline"], scenarios=["Offline"])
    assert [heading.text for heading in grid.headings[grid.stubs :]] == ["file, KiB", "Offline at batch 1, samples/s"]


def test_parts_side_by_side_share_a_line() -> None:
    grid = build(rows=["device", "model", "scheme"], across=["runtime"], columns=["p50"])
    assert [(heading.text, heading.group) for heading in grid.headings[3:]] == [
        ("p50, µs", "onnx"),
        ("p50, µs", "tflite"),
    ]
    line = stubs(grid).index("local student fp32")
    assert column(grid, "p50, µs", "onnx")[line].value == "20.0"
    assert column(grid, "p50, µs", "tflite")[line].refused == "refused"
    assert column(grid, "p50, µs", "tflite")[stubs(grid).index("local student int8-static")].is_empty


def test_two_rows_in_one_place_are_refused_with_the_parts_to_add() -> None:
    with pytest.raises(EdgeproofError, match="Add device or scheme to rows or across"):
        build(rows=["model"], across=["runtime"])


def test_rows_are_sorted_by_each_key_and_those_without_a_value_come_last() -> None:
    assert stubs(build(sort=["p50"], rows=["device", "runtime", "model", "scheme"])) == [
        "local onnx student fp32",
        "local onnx student int8-static",
        "local onnx teacher fp32",
        "board onnx teacher fp32",
        "local tflite student fp32",
        "local onnx teacher int8-dynamic",
    ]
    by_scheme = stubs(build(sort=["scheme", "-quality"], devices=["local"], rows=["scheme", "model", "runtime"]))
    assert by_scheme == [
        "fp32 teacher onnx",
        "fp32 student tflite",
        "fp32 student onnx",
        "int8-static student onnx",
        "int8-dynamic teacher onnx",
    ]


# --- digits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nanoseconds", "texts"),
    [
        (Estimate(123_456.0, 120_000.0, 126_000.0), ("123.5", "[120.0, 126.0]")),
        (Estimate(123_456.0, 100_000.0, 150_000.0), ("123", "[100, 150]")),
        (Estimate(1_234_567.0, 1_234_000.0, 1_235_000.0), ("1,234.57", "[1,234.00, 1,235.00]")),
        (Estimate(5_000.0, float("nan"), float("nan")), ("5", "")),
        (None, ("", "")),
    ],
)
def test_a_latency_has_two_digits_of_its_intervals_half_width(nanoseconds: Any, texts: tuple[str, str]) -> None:
    assert FIGURES["p50"].format_row(row(p50_ns=nanoseconds)) == texts


def test_shares_sizes_and_counts_are_in_the_units_of_their_headings() -> None:
    example = row(quality_difference=Estimate(0.0123, -0.001, 0.0256), peak_rss_bytes=3 * 2**20, parameters=1234567)
    assert FIGURES["quality"].format_row(example) == ("90.00", "[88.00, 92.00]")
    assert FIGURES["quality_difference"].format_row(example) == ("+1.23", "[-0.10, +2.56]")
    assert FIGURES["size"].format_row(example) == ("1.5", "")
    assert FIGURES["peak"].format_row(example) == ("3", "")
    assert FIGURES["parameters"].format_row(example) == ("1,234,567", "")
    assert FIGURES["zeros"].format_row(example) == ("12.5", "")


@given(st.floats(1e2, 1e12), st.floats(1e-6, 0.5))
def test_rounding_changes_a_value_by_less_than_a_tenth_of_its_interval(value: float, share: float) -> None:
    text = FIGURES["p50"].format_row(row(p50_ns=about(value, share)))[0]
    assert float(text.replace(",", "")) == pytest.approx(value / 1000, abs=max(0.1 * share * value / 1000, 0.00051))


# --- marks and notes -----------------------------------------------------------------------------------------------


def test_the_best_value_of_each_figure_is_marked_on_devices_with_several_rows() -> None:
    grid = build(columns=["quality", "size", "p50"], devices=["local"])
    names = stubs(grid)
    assert [names[n] for n, cell in enumerate(column(grid, "p50, µs")) if cell.best] == ["local student onnx fp32"]
    assert [names[n] for n, cell in enumerate(column(grid, "file, KiB")) if cell.best] == ["local student onnx fp32"]
    best = [names[n] for n, cell in enumerate(column(grid, "accuracy, %")) if cell.best]
    assert best == ["local teacher onnx fp32", "local student tflite fp32"]
    assert not any(cell.best for line in build(devices=["board"]).lines for cell in line)
    assert not any(cell.best for line in build(best=False).lines for cell in line)


def test_a_row_is_marked_unless_a_marked_row_beats_it_beyond_the_intervals() -> None:
    grid = build(devices=["local"])
    marked = [name for name, cell in zip(stubs(grid), column(grid, "p50, µs"), strict=True) if cell.pareto]
    assert marked == ["local teacher onnx fp32", "local student onnx fp32"]
    assert [f"{datum['model']} {datum['scheme']}" for datum in grid.data if datum["pareto"]] == [
        "teacher fp32",
        "student fp32",
    ]
    assert any("◆: not beaten beyond the intervals" in caption for caption in grid.captions)
    assert not any(datum["pareto"] for datum in build(columns=["size"]).data)


def test_a_more_accurate_row_within_the_intervals_of_a_faster_one_is_not_marked() -> None:
    rows = [
        row(f"m{n}", p50_ns=about(20_000.0 * (n + 1)), quality=Estimate(0.918 + n / 5000, 0.913, 0.923))
        for n in range(3)
    ]
    assert [datum["pareto"] for datum in build(rows).data] == [True, False, False]


def test_an_accuracy_is_compared_with_its_reference_by_the_paired_difference() -> None:
    teacher = row(quality=Estimate(0.928, 0.923, 0.933))
    slim = row("slim", p50_ns=about(20_000.0), quality=Estimate(0.922, 0.917, 0.927))
    assert [datum["pareto"] for datum in build([teacher, slim]).data] == [False, True]
    worse = replace(slim, reference=("teacher", "fp32"), quality_difference=Estimate(-0.006, -0.009, -0.003))
    assert [datum["pareto"] for datum in build([teacher, worse]).data] == [True, True]


def test_where_less_is_better_the_least_quality_is_best_and_the_front_turns_around() -> None:
    slow = row(quality=Estimate(3.0, 2.9, 3.1), **RMSE)
    fast = row("fast", p50_ns=about(20_000.0), quality=Estimate(4.0, 3.9, 4.1), **RMSE)
    bad = row("bad", p50_ns=about(40_000.0), quality=Estimate(5.0, 4.9, 5.1), **RMSE)
    grid = build([slow, fast, bad], columns=["quality", "quality_difference", "p50"])
    assert [cell.best for cell in column(grid, "RMSE, mm")] == [True, False, False]
    assert [datum["pareto"] for datum in grid.data] == [True, True, False]
    assert [(datum["quality_mm"], datum["metric"]) for datum in grid.data] == [(3, "rmse"), (4, "rmse"), (5, "rmse")]
    text = " ".join(grid.captions)
    assert "bootstrap percentiles for RMSE, paired for its difference" in text
    assert "Lower is better for RMSE." in text
    assert "in p50 or RMSE by more than" in text
    assert "%" not in text.replace("95%", "").replace("5 to 19%", "")


def test_a_worse_error_is_compared_with_its_reference_by_the_paired_difference() -> None:
    teacher = row(quality=Estimate(3.0, 2.5, 3.5), **RMSE)
    slim = row("slim", p50_ns=about(20_000.0), quality=Estimate(3.1, 2.6, 3.6), **RMSE)
    assert [datum["pareto"] for datum in build([teacher, slim]).data] == [False, True]
    worse = replace(slim, reference=("teacher", "fp32"), quality_difference=Estimate(0.1, 0.05, 0.15))
    assert [datum["pareto"] for datum in build([teacher, worse]).data] == [True, True]


def test_rows_of_several_metrics_have_no_best_quality_and_a_front_each() -> None:
    rows = [row(), row("slow", p50_ns=about(900_000.0), quality=Estimate(9.0, 8.9, 9.1), **RMSE)]
    grid = build(rows, columns=["quality", "p50"])
    cells = column(grid, "quality")
    assert [cell.value for cell in cells] == ["accuracy 90.00%", "RMSE 9.00 mm"]
    assert not any(cell.best for cell in cells)
    assert [datum["pareto"] for datum in grid.data] == [True, True]
    assert "Wilson's for accuracy, bootstrap percentiles for RMSE, paired for their differences" in grid.captions[0]


@pytest.mark.parametrize(
    ("key", "former", "name"),
    [
        ("columns", "accuracy", "quality"),
        ("columns", "accuracy_difference", "quality_difference"),
        ("sort", "-accuracy", "quality"),
        ("pareto", "accuracy", "quality"),
    ],
)
def test_a_former_name_in_a_selection_is_answered_with_the_new_one(key: str, former: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{former.removeprefix('-')}', which is now called '{name}'"):
        build(**{key: [former]})


def test_marks_do_not_depend_on_the_rows_shown() -> None:
    shown = build(models=["student"], schemes=["int8-static"], columns=["quality", "p50"])
    (line,) = shown.lines
    assert not any(cell.best or cell.pareto for cell in line)
    (teacher,) = build(models=["teacher"], schemes=["fp32"], devices=["local"], columns=["quality", "p50"]).lines
    assert [cell.best for cell in teacher] == [False] * 4 + [True, False]
    assert any(
        "that this table leaves out" in caption for caption in build(models=["teacher"], devices=["local"]).captions
    )


@given(st.data())
def test_a_selection_shows_the_marks_of_the_whole_table(data: st.DataObject) -> None:
    rows = several()
    names = data.draw(st.sets(st.sampled_from([each.key for each in rows]), min_size=1))
    shown = grids.build_grid([each for each in rows if each.key in names], Selection(), grid_marks.DeviceRanking(rows))
    whole = {tuple(cell.value for cell in line[:4]): line for line in build(rows).lines}
    headings = [heading.text for heading in build(rows).headings]
    for line in shown.lines:
        expected = whole[tuple(cell.value for cell in line[:4])]
        places = [headings.index(heading.text) for heading in shown.headings]
        assert [(cell.best, cell.pareto) for cell in line] == [(expected[n].best, expected[n].pareto) for n in places]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_the_front_of_three_exact_figures_has_all_rows_that_no_other_dominates(
    points: list[tuple[int, int, int]],
) -> None:
    rows = [
        row(str(n), p50_ns=about(a * 1000.0, 0.0), size_bytes=b * 1024, quality=Estimate(c / 10, c / 10, c / 10))
        for n, (a, b, c) in enumerate(points)
    ]
    front = {key[2] for key in find_front(rows, ["p50", "size", "quality"])}
    costs = [(a, b, -c) for a, b, c in points]
    expected = {
        str(n)
        for n, mine in enumerate(costs)
        if not any(other != mine and all(x <= y for x, y in zip(other, mine, strict=True)) for other in costs)
    }
    assert front == expected


def test_a_median_that_refused_runs_would_move_out_of_its_interval_has_a_note() -> None:
    moved = row(p50_attempts_ns=about(120_000.0), refused_runs=2, speed_up=about(2.0))
    unmoved = row("student", p50_attempts_ns=about(102_000.0), refused_runs=1, speed_up=about(2.0))
    grid = build([moved, unmoved], columns=["p50", "speed_up", "quality", "p50_attempts", "refused_runs"])
    assert grid.notes == ["over all attempts, with 2 refused run(s), p50 is 120.0 [114.0, 126.0] µs"]
    assert [[cell.notes for cell in line[4:7]] for line in grid.lines] == [[(1,), (1,), ()], [(), (), ()]]
    assert [[cell.value for cell in line[7:]] for line in grid.lines] == [["120.0", "2"], ["", "1"]]


def test_a_refused_cell_has_the_reasons_of_its_own_scenario() -> None:
    grid = build(columns=["quality", "p50", "server", "size"], devices=["local"])
    line = stubs(grid).index("local student tflite fp32")
    latency, server = column(grid, "p50, µs")[line], column(grid, "Server offered, samples/s")[line]
    assert (latency.refused, server.refused) == ("refused", "refused")
    assert [grid.notes[number - 1] for number in latency.notes] == ["single_stream 2: LoadGen: too short"]
    assert [grid.notes[number - 1] for number in server.notes] == ["server 0: late"]
    assert column(grid, "accuracy, %")[line].value == "90.00"
    unsupported = stubs(grid).index("local teacher onnx int8-dynamic")
    for heading in ("accuracy, %", "p50, µs", "file, KiB"):
        cell = column(grid, heading)[unsupported]
        assert (cell.refused, [grid.notes[number - 1] for number in cell.notes]) == ("unsupported", ["no kernels"])


def test_a_scenario_that_was_not_measured_is_empty_and_not_refused() -> None:
    grid = build([row(), row("other", offline_samples_per_s=about(10.0))], columns=["p50", "offline"])
    assert column(grid, "Offline at batch 1, samples/s")[0] == TableCell()


def test_a_figure_that_no_row_has_is_left_out_of_the_table_and_stays_in_the_data() -> None:
    grid = build([row(), row("other")], columns=["energy", "p50", "offline"])
    assert [heading.text for heading in grid.headings[grid.stubs :]] == ["p50, µs"]
    assert {len(line) for line in grid.lines} == {len(grid.headings)}
    assert grid.left_out == ["energy, µJ", "Offline at batch 1, samples/s"]
    assert {"energy_uJ", "offline_samples_per_s"} <= grid.data[0].keys()


def test_a_figure_that_one_group_lacks_is_left_out_of_that_group_only() -> None:
    rows = [row(), row(runtime="tflite", energy_uj=about(5.0))]
    grid = build(rows, rows=["model"], across=["runtime"], columns=["p50", "energy"])
    assert [(heading.text, heading.group) for heading in grid.headings[grid.stubs :]] == [
        ("p50, µs", "onnx"), ("p50, µs", "tflite"), ("energy, µJ", "tflite")
    ]  # fmt: skip
    assert grid.left_out == []


def test_unlike_conditions_are_noted_at_timed_figures_only() -> None:
    rows = [row(), row("student"), row("other", conditions={**CONDITIONS, "kernel": "6.9", "threads": 2})]
    grid = build(rows, columns=["quality", "p50"])
    assert [cell.notes for cell in column(grid, "p50, µs")] == [(), (), (1,)]
    assert [cell.notes for cell in column(grid, "accuracy, %")] == [(), (), ()]
    assert grid.notes == ["measured under unlike conditions: kernel: 6.1 → 6.9; threads: 1 → 2"]


def test_packages_are_compared_within_a_runtime_and_conditions_within_a_device() -> None:
    rows = [row(), row("a"), row("b", versions={"onnx": "2.0"}), row(runtime="tflite"), several()[-1]]
    grid = build(rows, columns=["p50"])
    assert grid.notes == ["measured under unlike conditions: packages.onnx: 1.0 → 2.0"]


def test_no_rows_make_an_empty_grid() -> None:
    grid = build([])
    assert (grid.lines, grid.data, grid.notes) == ([], [], [])


def test_rows_without_any_valid_run_make_a_table_of_reasons() -> None:
    nothing = {"quality": None, "p50_ns": None, "p99_ns": None, "verdict": "error"}
    rows = [row(str(n), reasons=(f"single_stream 0: killed {n}", "accuracy 0: killed"), **nothing) for n in range(3)]
    grid = build(rows, columns=["quality", "p50"])
    assert {cell.refused for line in grid.lines for cell in line[grid.stubs :]} == {"failed"}
    assert len(grid.notes) == 4


# --- selections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"columns": ["p5O"]}, "columns has unknown 'p5O'. Did you mean 'p50'"),
        ({"sort": ["-latency"]}, "sort has unknown 'latency'"),
        ({"pareto": ["verdict", "p50"]}, "pareto has unknown 'verdict'"),
        ({"rows": ["model"], "across": ["model"]}, "model can't be both"),
        ({"rows": ["modell"]}, "rows.0"),
        ({"colums": ["p50"]}, "colums: unknown key. Did you mean 'columns'"),
        ({"scenarios": ["Sever"]}, "scenarios.0"),
    ],
)
def test_a_selection_with_a_mistake_is_refused_with_its_key(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**chosen)
