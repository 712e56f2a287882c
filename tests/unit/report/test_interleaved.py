"""Compare artifacts by interleaved runs: from records to a table."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy

from edgeproof.records import record_files
from edgeproof.report import interleaved
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from tests.support import record_trees


def test_the_ratio_is_the_geometric_mean_of_the_processes_with_students_interval(tmp_path: Path) -> None:
    logs = [0.05, 0.06, 0.04, 0.055, 0.045, 0.052]
    for process, log_ratio in enumerate(logs):
        record_trees.write_interleaved(tmp_path, log_ratio, process, model="new")
    (comparison,) = interleaved.compare_interleaved(record_files.read_all(tmp_path)).values()
    assert comparison.verdict == "slower"
    assert comparison.ratio.value == pytest.approx(math.exp(np.mean(logs)))
    half = scipy.stats.t.ppf(0.975, 5) * np.std(logs, ddof=1) / math.sqrt(6)
    assert comparison.ratio.low == pytest.approx(math.exp(np.mean(logs) - half))
    assert comparison.ratio.high == pytest.approx(math.exp(np.mean(logs) + half))


def test_a_refused_process_is_left_out_and_listed(tmp_path: Path) -> None:
    for process in range(5):
        record_trees.write_interleaved(tmp_path, 0.001 * (-1) ** process, process, model="new")
    record_trees.write_interleaved(tmp_path, 5.0, 5, model="new", verdict="invalid", reasons=["it | <fell> back"])
    (comparison,) = interleaved.compare_interleaved(record_files.read_all(tmp_path)).values()
    assert comparison.processes == (5, 5)
    assert comparison.verdict == "no difference shown"
    text = interleaved.format_interleaved_table(tmp_path)
    assert "- onnx/new/fp32: it \\| &lt;fell> back" in text
    assert "| onnx | new/fp32 | good/fp32 | 5 | 1.000" in text
    assert "local: A Processor, 1 thread(s); numpy 2.0" in text


def test_an_artifact_without_valid_processes_has_dashes_and_its_reason(tmp_path: Path) -> None:
    refused = {"verdict": "unsupported", "reasons": ["no kernel"], "order": 0}
    record_trees.write(tmp_path, "unsupported", model="odd", job=False, **refused)
    record_trees.write_interleaved(tmp_path, 0.1, 0, model="new")
    text = interleaved.format_interleaved_table(tmp_path)
    assert "| onnx | odd/fp32 | – | 0 | too few processes |" in text
    assert "- onnx/odd/fp32: no kernel" in text
    assert "| onnx | new/fp32 | good/fp32 | 1 | too few processes |" in text


def test_interleaved_runs_give_a_speed_up_of_their_own_and_change_no_other_figure(tmp_path: Path) -> None:
    record_trees.write(tmp_path, call_ns=np.full(100, 1000), order=0)
    assert interleaved.compare_interleaved(record_files.read_all(tmp_path)) == {}
    order = {"devices": ["local"], "models": ["teacher"], "runtimes": ["onnx"]}
    before = read_rows(tmp_path, baseline="teacher", order=order)
    assert before[0].in_turns_speed_up is None
    for process, log_ratio in enumerate(logs := [0.5, 0.52, 0.54]):
        record_trees.write_interleaved(tmp_path, log_ratio, process)
    (row,) = read_rows(tmp_path, baseline="teacher", order=order)
    half = scipy.stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / math.sqrt(3)
    assert row.in_turns_speed_up is not None
    assert row.in_turns_speed_up.value == pytest.approx(math.exp(-0.52))
    assert row.in_turns_speed_up.low == pytest.approx(math.exp(-0.52 - half))
    assert row.in_turns_speed_up.high == pytest.approx(math.exp(-0.52 + half))
    assert row.in_turns_against == ("good", "fp32")
    again = Row.from_dict(json.loads(json.dumps(row.as_dict())))
    assert (again.in_turns_speed_up, again.in_turns_against) == (row.in_turns_speed_up, row.in_turns_against)
    others = dataclasses.replace(row, in_turns_speed_up=None, in_turns_against=None)
    assert json.dumps(others.as_dict()) == json.dumps(before[0].as_dict()), "no other figure is touched"
    record_trees.write_interleaved(tmp_path, 0.5, 3, verdict="invalid", reasons=["no"])
    assert read_rows(tmp_path, baseline="teacher", order=order)[0].in_turns_speed_up is None
