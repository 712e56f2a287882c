"""Read records as a DataFrame, and compare cells, from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeproof
from edgeproof.core.errors import EdgeproofError
from tests.support import record_trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write records of two models in two sessions each: the student is 20% slower."""
    rng = np.random.default_rng(0)
    for process in range(5):
        for model, ns in (("teacher", 1e5), ("student", 1.2e5)):
            durations = ns * np.exp(rng.normal(0, 0.01, 200) + rng.normal(0, 0.003))
            record_trees.write(tmp_path / "records", model=model, process=process, call_ns=durations)
    return tmp_path / "records"


def test_records_are_a_frame_with_a_line_for_each(root: Path) -> None:
    frame = edgeproof.records(root=root)
    assert sorted(frame["model"]) == ["student"] * 5 + ["teacher"] * 5
    medians = frame.groupby("model")["p50_log"].mean()
    assert np.exp(medians["student"] - medians["teacher"]) == pytest.approx(1.2, rel=0.01)


def test_a_query_is_answered_as_a_frame(root: Path) -> None:
    frame = edgeproof.records(root, "SELECT model, count(*) AS runs FROM records GROUP BY ALL ORDER BY ALL")
    assert frame.to_dict("list") == {"model": ["student", "teacher"], "runs": [5, 5]}


@pytest.mark.parametrize("query", ["SELECT modle FROM records", "DROP VIEW records", "SELECT error('x')"])
def test_a_query_that_fails_is_an_edgeproof_error(root: Path, query: str) -> None:
    with pytest.raises(EdgeproofError):
        edgeproof.records(root, query)


def test_damaged_records_are_left_out_with_a_warning(root: Path) -> None:
    next(root.rglob("record.json")).write_text("{")
    with pytest.warns(UserWarning, match=r"left out 1 damaged record\(s\): "):
        assert len(edgeproof.records(root)) == 9


def test_a_missing_directory_of_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgeproofError, match="nowhere does not exist"):
        edgeproof.records(tmp_path / "nowhere")


def test_two_cells_are_compared_with_a_ratio_and_a_verdict(root: Path) -> None:
    report = edgeproof.compare("teacher", "student", root=root)
    assert report.comparison.verdict == "slower"
    assert report.comparison.ratio.low < 1.2 < report.comparison.ratio.high
    assert str(report).endswith("verdict: slower")
    assert f"{report.comparison.ratio.value:.4f}" in report._repr_html_()
    assert edgeproof.compare("student", "teacher", root=root).comparison.verdict == "faster"


def test_two_devices_are_compared_cell_by_cell(root: Path) -> None:
    for process in range(5):
        durations = 2e5 * np.exp(np.random.default_rng(process).normal(0, 0.01, 200))
        for model in ("teacher", "student"):
            record_trees.write(root, model=model, process=process, device="board", call_ns=durations)
    report = edgeproof.compare("local", "board", root=root)
    assert dict.fromkeys(report.comparisons, "slower") == {"onnx/student/fp32": "slower", "onnx/teacher/fp32": "slower"}
    with pytest.raises(EdgeproofError, match="choose one"):
        _ = report.comparison


@pytest.mark.parametrize("options", [{"percent": 0}, {"percent": 100}, {"margin": -0.1}, {"margin": 1.0}])
def test_an_option_out_of_range_is_refused(root: Path, options: dict[str, float]) -> None:
    with pytest.raises(EdgeproofError, match="percent is between 0 and 100, margin from 0 to below 1"):
        edgeproof.compare("teacher", "student", root=root, **options)
