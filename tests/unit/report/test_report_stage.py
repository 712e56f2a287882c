"""The report stage: from records on disk to tables, plots and metrics, the same bytes every time."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeproof.config import params_file
from edgeproof.config.params import Params
from stages import report
from tests.support import record_trees


@pytest.fixture
def project(digits_study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with records of the digits study's baseline, its final artifact, and one that it does not show."""
    monkeypatch.chdir(tmp_path)
    params_file.write_params(digits_study)
    rng = np.random.default_rng(0)
    for model, scheme, factor in (
        ("teacher", "fp32", 4),
        ("student_slim_w4", "int8-static", 1),
        ("student_slim_w4", "fp32", 2),
    ):
        durations = rng.lognormal(9, 0.1, 700) * factor
        record_trees.write(tmp_path / "results/records", model=model, scheme=scheme, call_ns=durations)
        record_trees.write(
            tmp_path / "results/records", "accuracy", model=model, scheme=scheme, correct=rng.random(100) < 0.9
        )
    return tmp_path


def written(project: Path) -> dict[str, bytes]:
    places = [project / "results/tables", project / "results/plots"]
    files = {path.name: path.read_bytes() for place in places for path in place.iterdir()}
    return files | {"metrics.json": (project / "results/metrics.json").read_bytes()}


def test_the_report_is_the_same_to_the_byte_for_the_same_records(project: Path) -> None:
    report.main()
    first = written(project)
    report.main()
    assert written(project) == first
    assert {"table.md", "table.csv", "table.json", "quality_latency.svg", "quality_size.csv"} <= set(first)


def test_metrics_hold_the_baseline_and_the_final_artifacts_with_the_tables_figures(project: Path) -> None:
    report.main()
    metrics = json.loads((project / "results/metrics.json").read_text())["local"]["onnx"]
    assert set(metrics) == {"teacher fp32", "student_slim_w4 int8-static"}
    with (project / "results/tables/table.csv").open(encoding="utf-8") as file:
        table = {f"{row['model']} {row['scheme']}": row for row in csv.DictReader(file)}
    for name, figures in metrics.items():
        assert figures["accuracy"] == pytest.approx(float(table[name]["quality"]), abs=1e-6)
        assert figures["p50_us"] == pytest.approx(float(table[name]["p50_ns"]) / 1000, abs=1e-3)
        assert figures["size_bytes"] == int(table[name]["size_bytes"])


def test_the_plots_show_the_points_of_the_table(project: Path) -> None:
    report.main()
    with (project / "results/plots/quality_latency.csv").open(encoding="utf-8") as file:
        points = {(row["model"], row["scheme"]): float(row["p50_us"]) for row in csv.DictReader(file)}
    rows = json.loads((project / "results/tables/table.json").read_text())["rows"]
    assert points == {(row["model"], row["scheme"]): row["p50_ns"]["value"] / 1000 for row in rows}


def test_no_records_make_an_empty_report_and_no_failure(project: Path) -> None:
    shutil.rmtree(project / "results/records")
    report.main()
    assert json.loads((project / "results/metrics.json").read_text()) == {}
    assert json.loads((project / "results/tables/table.json").read_text())["rows"] == []
