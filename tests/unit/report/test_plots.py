"""Draw plots: the same bytes for the same rows, well-formed, with the front that comparing every pair gives."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.report import plots
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from tests.support.example_rows import PLAIN


def p50(row: Row) -> float | None:
    return None if row.p50_ns is None else row.p50_ns.value


def point(x: float | None, y: float | None, **changes: Any) -> Row:
    return replace(
        PLAIN,
        p50_ns=None if x is None else Estimate(x, x, x),
        accuracy=None if y is None else Estimate(y, y, y),
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
    return list(csv.DictReader(io.StringIO(plots.format_scatter_csv(rows, "p50", p50))))


def test_the_csv_holds_every_point_with_a_latency_and_an_accuracy_and_no_other() -> None:
    points = read([point(5.0, 0.5), point(None, 0.6), point(7.0, None), point(8.0, 0.25, model="student")])
    assert [(row["model"], row["p50"], row["accuracy"]) for row in points] == [
        ("teacher", "5.0", "0.5"),
        ("student", "8.0", "0.25"),
    ]


def test_a_point_is_on_its_devices_front_when_no_other_point_there_beats_it(many_rows: list[Row]) -> None:
    points = read(many_rows)
    assert len(points) == len(many_rows)
    values = [(row["device"], float(row["p50"]), float(row["accuracy"]), row["pareto"] == "True") for row in points]
    for device, x, y, on_front in values:
        peers = [(px, py) for pd, px, py, _ in values if pd == device]
        beaten = any(px <= x and py >= y and (px, py) != (x, y) for px, py in peers)
        if on_front:
            assert not beaten
        else:
            assert beaten or peers.count((x, y)) > 1


def test_the_drawing_is_the_same_to_the_byte_for_the_same_rows(many_rows: list[Row], tmp_path: Path) -> None:
    for name in ("a", "b"):
        plots.draw_scatter(many_rows, "latency", p50, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_drawing_is_well_formed_with_a_panel_a_device_and_a_legend(many_rows: list[Row], tmp_path: Path) -> None:
    plots.draw_scatter(many_rows, "median latency, µs", p50, tmp_path / "plot.svg")
    texts = [
        "".join(element.itertext())
        for element in ElementTree.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    for text in ("device: local", "device: board", "onnx", "tflite", "fp32", "Pareto front"):
        assert text in texts
    assert texts.count("median latency, µs") == 2


@pytest.mark.parametrize("rows", [[], [point(None, None)], [point(5.0, 0.5)]], ids=["none", "no figure", "one"])
def test_few_points_or_none_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    plots.draw_scatter(rows, "latency", p50, tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    assert plots.format_scatter_csv(rows, "p50", p50).startswith("device,model,runtime,scheme,p50,accuracy,pareto\n")


def test_hostile_names_stay_text_in_svg_and_csv(tmp_path: Path) -> None:
    row = point(5.0, 0.5, model='<script>alert(1)</script>,"x"', runtime="a&b")
    plots.draw_scatter([row], "latency", p50, tmp_path / "plot.svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "plot.svg").iter()}
    assert "script" not in tags
    assert read([row])[0]["model"] == row.model
