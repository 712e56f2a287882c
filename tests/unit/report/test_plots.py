"""Draw plots: the same bytes for the same rows, well-formed, with the front that comparing every pair gives."""

from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.report import plots
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support.example_rows import PLAIN


def point(x: float | None, y: float | None, *, half_width: float = 0.0, **changes: Any) -> Row:
    """Return a row with a median of `x` µs and an accuracy of `y` ± `half_width`."""
    return replace(
        PLAIN,
        p50_ns=None if x is None else Estimate(1000 * x, 1000 * x, 1000 * x),
        quality=None if y is None else Estimate(y, y - half_width, y + half_width),
        **changes,
    )


@pytest.fixture
def many_rows() -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        point(
            float(rng.integers(1, 20)), float(rng.integers(1, 20)) / 20, device=device, model=f"m{i}", runtime=runtime
        )
        for i in range(15)
        for device in ("local", "board")
        for runtime in ("onnx", "tflite")
    ]


def read(rows: list[Row]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(plots.format_scatter_csv(rows, plots.LATENCY))))


def test_the_csv_holds_every_point_with_a_latency_and_an_accuracy_and_no_other() -> None:
    points = read([point(5.0, 0.5), point(None, 0.6), point(7.0, None), point(8.0, 0.25, model="student")])
    assert [(row["model"], row["p50_us"], row["quality"]) for row in points] == [
        ("teacher", "5.0", "0.5"),
        ("student", "8.0", "0.25"),
    ]


def test_a_point_is_on_its_devices_front_when_no_other_point_there_beats_it(many_rows: list[Row]) -> None:
    points = read(many_rows)
    assert len(points) == len(many_rows)
    values = [(row["device"], float(row["p50_us"]), float(row["quality"]), row["pareto"] == "True") for row in points]
    for device, x, y, on_front in values:
        peers = [(px, py) for pd, px, py, _ in values if pd == device]
        beaten = any(px <= x and py >= y and (px, py) != (x, y) for px, py in peers)
        assert on_front is not beaten


def test_a_point_within_the_intervals_of_a_faster_one_is_not_on_the_front() -> None:
    alike = [point(30.0 + n, 0.918 + n / 5000, half_width=0.005, model=f"m{n}") for n in range(3)]
    better = point(50.0, 0.93, half_width=0.005, model="better")
    assert [row["pareto"] for row in read([*alike, better])] == ["True", "False", "False", "True"]


def test_the_csv_and_the_drawing_have_the_intervals(tmp_path: Path) -> None:
    row = replace(point(5.0, 0.5, half_width=0.1), p50_ns=Estimate(5000.0, 4000.0, 7000.0))
    (line,) = read([row])
    assert [line[name] for name in ("p50_us_low", "p50_us_high", "quality_low", "quality_high")] == [
        *("4.0", "7.0", "0.4", "0.6")
    ]
    plots.draw_scatter([row], plots.LATENCY, tmp_path / "with.svg")
    plots.draw_scatter([replace(row, p50_ns=Estimate(5000.0, math.nan, math.nan))], plots.LATENCY, tmp_path / "one.svg")
    counts = [(tmp_path / name).read_text().count("LineCollection") for name in ("with.svg", "one.svg")]
    assert counts[0] == counts[1] + 1


def test_the_drawing_is_the_same_to_the_byte_for_the_same_rows(many_rows: list[Row], tmp_path: Path) -> None:
    for name in ("a", "b"):
        plots.draw_scatter(many_rows, plots.LATENCY, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_drawing_is_well_formed_with_a_panel_a_device_and_a_legend(many_rows: list[Row], tmp_path: Path) -> None:
    plots.draw_scatter(many_rows, plots.LATENCY, tmp_path / "plot.svg")
    texts = [
        "".join(element.itertext())
        for element in ElementTree.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    for text in (
        "device: local (A Processor)",
        "device: board (A Processor)",
        "onnx",
        "tflite",
        "fp32",
        "not beaten beyond the intervals",
        "95% interval",
    ):
        assert text in texts
    assert texts.count("median latency, µs") == 2


def test_a_plot_of_errors_names_the_metric_and_the_direction_and_turns_the_front_around(tmp_path: Path) -> None:
    rmse = {"metric_name": "rmse", "metric": Metric("RMSE", "mm", digits=2, better="less")}
    rows = [point(5.0, 3.0, **rmse), point(8.0, 2.0, model="slow", **rmse), point(9.0, 4.0, model="bad", **rmse)]
    plots.draw_scatter(rows, plots.LATENCY, tmp_path / "plot.svg")
    texts = [element.text for element in ElementTree.parse(tmp_path / "plot.svg").iter() if element.text]
    assert "RMSE, mm (less is better)" in texts
    assert not any("accuracy" in text for text in texts)
    assert [(line["quality"], line["pareto"], line["metric"]) for line in read(rows)] == [
        ("3.0", "True", "rmse"),
        ("2.0", "True", "rmse"),
        ("4.0", "False", "rmse"),
    ]


def test_rows_of_several_metrics_have_a_panel_each(tmp_path: Path) -> None:
    auc = {"metric_name": "auc", "metric": Metric("AUC")}
    plots.draw_scatter([point(5.0, 0.5), point(9.0, 0.6, **auc)], plots.LATENCY, tmp_path / "plot.svg")
    texts = [element.text for element in ElementTree.parse(tmp_path / "plot.svg").iter() if element.text]
    assert {"accuracy, %", "AUC"} <= set(texts)
    assert texts.count("median latency, µs") == 2


@pytest.mark.parametrize("rows", [[], [point(None, None)], [point(5.0, 0.5)]], ids=["none", "no figure", "one"])
def test_few_points_or_none_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    plots.draw_scatter(rows, plots.LATENCY, tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    heading = (
        "device,model,runtime,scheme,p50_us,quality,pareto,p50_us_low,p50_us_high,quality_low,quality_high,metric\n"
    )
    assert plots.format_scatter_csv(rows, plots.LATENCY).startswith(heading)


def test_hostile_names_stay_text_in_svg_and_csv(tmp_path: Path) -> None:
    row = point(5.0, 0.5, model='<script>alert(1)</script>,"x"', runtime="a&b")
    plots.draw_scatter([row], plots.LATENCY, tmp_path / "plot.svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "plot.svg").iter()}
    assert "script" not in tags
    assert read([row])[0]["model"] == row.model
