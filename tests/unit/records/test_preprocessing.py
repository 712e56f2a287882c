"""The preprocessing in a record: its columns in the store, its figures in a row, and older or damaged records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.provenance import cells, explanation
from edgeproof.records import record_files, summaries
from edgeproof.records.columns import StoreLine
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from tests.support import record_trees

DURATIONS_NS = np.random.default_rng(0).lognormal(14, 0.2, 300).astype(int).tolist()
MEASURED = {"durations_ns": DURATIONS_NS, "raw_inputs": "noise", "versions": {"numpy": "2.0"}, "missing": None}


def write(root: Path, preprocessing: Any, **more: Any) -> None:
    more = {"profile": {"missing": "none"}, "order": 1, **more}
    record_trees.write(root, "profile", job=False, preprocessing=preprocessing, **more)


def summarize(root: Path) -> StoreLine:
    (line,) = summaries.summarize_records(record_files.read_all(root), root)
    return line


def read_row(root: Path) -> Row:
    (row,) = read_rows(
        root, baseline="teacher", order={"devices": ["local"], "models": ["teacher"], "runtimes": ["onnx"]}
    )
    return row


def test_percentiles_and_their_count_are_those_of_the_recorded_durations(tmp_path: Path) -> None:
    write(tmp_path, MEASURED)
    line = summarize(tmp_path)
    for percent in (50, 90):
        log = line.get_log_percentile(f"preprocess_p{percent}")
        assert log is not None
        assert np.exp(log.value) == pytest.approx(np.percentile(DURATIONS_NS, percent))
        assert log.low < log.value < log.high
    assert (line.preprocessed, line.raw_inputs, line.preprocess_missing) == (300, "noise", None)


@pytest.mark.parametrize(("count", "has_p90"), [(63, False), (64, True)])
def test_a_ninetieth_percentile_needs_as_many_durations_as_a_latency_does(
    tmp_path: Path, count: int, *, has_p90: bool
) -> None:
    write(tmp_path, {**MEASURED, "durations_ns": DURATIONS_NS[:count]})
    row = read_row(tmp_path)
    assert row.preprocess_p50_ns is not None
    assert (row.preprocess_p90_ns is not None) is has_p90


@pytest.mark.parametrize("preprocessing", [{"missing": "broken"}, {**MEASURED, "missing": "disturbed"}])
def test_a_missing_or_disturbed_time_is_a_reason_and_no_figure(tmp_path: Path, preprocessing: Any) -> None:
    write(tmp_path, preprocessing)
    row = read_row(tmp_path)
    assert (row.verdict, row.preprocess_missing) == ("valid", preprocessing["missing"])
    assert (row.preprocess_p50_ns, row.preprocess_p90_ns, row.preprocessed) == (None, None, None)


@pytest.mark.parametrize("more", [{}, {"preprocessing": None}])
def test_a_record_without_preprocessing_stays_valid(tmp_path: Path, more: Any) -> None:
    record_trees.write(tmp_path, "profile", job=False, profile={"missing": "none"}, order=1, **more)
    row = read_row(tmp_path)
    assert (row.preprocess_p50_ns, row.preprocess_missing) == (None, None)


@pytest.mark.parametrize(
    "preprocessing", ["text", {"durations_ns": 3}, {"durations_ns": [5, 0, 5] * 99}, {"durations_ns": [-1] * 99}]
)
def test_a_damaged_preprocessing_is_an_error_that_names_the_record(tmp_path: Path, preprocessing: Any) -> None:
    write(tmp_path, preprocessing)
    with pytest.raises(ArtifactError, match=r"record\.json is damaged"):
        summarize(tmp_path)


def test_the_time_of_an_emulator_is_hidden(tmp_path: Path) -> None:
    write(tmp_path, MEASURED, card={"emulated": True})
    line = summarize(tmp_path)
    assert line.get_log_percentile("preprocess_p50") is None
    assert line.preprocessed is None


def test_the_postprocessing_of_several_processes_is_averaged(tmp_path: Path) -> None:
    for process, postprocess_ns in enumerate((1_000, 3_000)):
        directory = record_trees.write(tmp_path, process=process, call_ns=np.full(100, 90_000))
        with np.load(directory / "latencies.npz") as stored:
            arrays = dict(stored)
        np.savez_compressed(
            directory / "latencies.npz", **arrays, postprocess_ns=np.full(100, postprocess_ns, np.uint64)
        )
        record_files.write_content(directory, record_files.read(directory).content)
    row = read_row(tmp_path)
    assert row.postprocess_p50_ns is not None
    assert row.postprocess_p50_ns.value == 2_000


@pytest.mark.parametrize(
    ("preprocessing", "line"),
    [
        ({**MEASURED, "durations_ns": [2_000_000, 3_000_000, 9_000_000]}, "p50 3,000 µs of 3 raw inputs (noise)"),
        ({"missing": "no camera"}, "not measured: no camera"),
    ],
)
def test_a_cell_explains_what_was_preprocessed(tmp_path: Path, preprocessing: Any, line: str) -> None:
    root = tmp_path / "records"
    write(root, preprocessing)
    text = explanation.explain(cells.find_cell("teacher", root), root)
    assert f"  preprocessing: {line}" in text.splitlines()
