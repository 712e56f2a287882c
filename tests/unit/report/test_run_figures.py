"""Figures that describe runs: overhead, Server's rate and limit, early stopping, and refused runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.report import tables
from edgeproof.report.figures import FIGURES
from edgeproof.report.row import Row
from edgeproof.report.row_data import describe_rows, format_rows_as_csv
from edgeproof.report.rows import read_rows
from tests.support import record_trees
from tests.support.example_rows import row
from tests.support.markdown_tables import read_cells

ORDER = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx"]}
DISTURBED: dict[str, Any] = {"verdict": "invalid", "reasons": ["steal"], "disturbed": True}


def read(root: Path) -> Row:
    (only,) = read_rows(root, baseline="teacher", order=ORDER)
    return only


def write_attempts(root: Path, medians_us: list[list[float]]) -> None:
    """Write the attempts of every process. All of them but the last were refused because the machine was disturbed."""
    artifact = root / "local_onnx/onnx/teacher.fp32"
    artifact.mkdir(parents=True)
    for process, attempts in enumerate(medians_us):
        for attempt, median_us in enumerate(attempts):
            refused = attempt < len(attempts) - 1
            changes: dict[str, Any] = {"attempt": attempt, **(DISTURBED if refused else {})}
            calls_ns = np.full(1000, 1000 * median_us)
            place = record_trees.write(root.parent / f"attempt{attempt}", process=process, call_ns=calls_ns, **changes)
            place.rename(artifact / f"single_stream.{process}{f'.again{attempt}' if attempt else ''}")


def test_the_overhead_is_loadgens_median_minus_that_of_the_calls_in_the_same_processes(tmp_path: Path) -> None:
    for process, overhead_ns in enumerate((2000, 4000, 6000)):
        calls_ns = np.full(1000, 100_000 + process)
        log = {"result_50.00_percentile_latency_ns": 100_000 + process + overhead_ns}
        record_trees.write(tmp_path, process=process, call_ns=calls_ns, log=log)
    overhead = read(tmp_path).overhead_p50_ns
    assert overhead is not None
    assert overhead.value == pytest.approx(4000)
    # Student's t of three values with a standard deviation of 2000: 4.303 · 2000 / √3
    assert overhead.high - overhead.value == pytest.approx(4968, rel=1e-3)


def test_servers_offered_rate_stands_beside_the_p99_at_that_rate_and_its_limit(tmp_path: Path) -> None:
    for process, rate in enumerate((900.0, 1100.0)):
        log = {
            "result_scheduled_samples_per_sec": rate,
            "result_completed_samples_per_sec": rate - 10,
            "result_99.00_percentile_latency_ns": 400_000,
            "effective_target_latency_ns": 15_000_000,
        }
        record_trees.write(tmp_path, "server", process=process, log=log)
    only = read(tmp_path)
    shown = {name: FIGURES[name].format_row(only).value for name in ("server", "server_p99", "server_limit")}
    assert shown == {"server": "1,000", "server_p99": "400", "server_limit": "15,000"}
    assert FIGURES["server"].title == "Server offered, samples/s"
    assert FIGURES["server"].better is None  # a rate that the study chose is never the best


def test_the_plain_percentile_of_multi_stream_stands_beside_the_early_stopping_estimate(tmp_path: Path) -> None:
    log = {"result_99.00_percentile_per_query_latency_ns": 600_000, "early_stopping_latency_ms": 900_000}
    record_trees.write(tmp_path, "multi_stream", log=log)
    only = read(tmp_path)
    assert FIGURES["multi_stream_p99"].get_number(only) == 600
    assert FIGURES["multi_stream_estimate"].get_number(only) == 900


def test_refused_runs_are_counted_and_their_medians_are_in_the_figure_over_all_attempts(tmp_path: Path) -> None:
    write_attempts(tmp_path / "records", [[100.0], [200.0, 101.0], [100.0]])
    only = read(tmp_path / "records")
    assert (only.refused_runs, only.repeated, only.processes) == (1, 1, 3)
    assert only.p50_attempts_ns is not None
    expected = np.exp(np.mean(np.log([100.0, 101.0, 100.0, 200.0])))
    assert only.p50_attempts_ns.value / 1000 == pytest.approx(expected, rel=1e-6)
    assert only.has_selective_refusals
    assert FIGURES["p50_attempts"].get_number(only) == pytest.approx(expected, rel=1e-6)


def test_a_figure_over_all_attempts_within_the_interval_is_not_shown(tmp_path: Path) -> None:
    write_attempts(tmp_path / "records", [[100.0], [101.0, 105.0], [95.0]])
    only = read(tmp_path / "records")
    assert only.refused_runs == 1
    assert only.p50_attempts_ns is not None
    assert FIGURES["p50_attempts"].format_row(only).value == ""


def test_without_a_refused_run_there_is_no_figure_over_all_attempts(tmp_path: Path) -> None:
    write_attempts(tmp_path / "records", [[100.0], [105.0]])
    only = read(tmp_path / "records")
    assert (only.refused_runs, only.p50_attempts_ns) == (0, None)


def test_the_entropy_coded_size_belongs_to_the_model_so_only_its_fp32_row_shows_it() -> None:
    rows = [row(model_entropy_coded_bytes=2048), row(scheme="int8-static", model_entropy_coded_bytes=2048)]
    shown = read_cells(tables.format_study_table(rows, study="s", baseline="teacher"))
    assert [cells["model entropy-coded, KiB"] for cells in shown] == ["2.0", "–"]
    heading = format_rows_as_csv(rows).splitlines()[0]
    assert "model_entropy_coded_bytes" in heading
    assert '"entropy_coded_bytes"' not in heading
    assert [entry["model_entropy_coded_bytes"] for entry in describe_rows(rows, study="s")["rows"]] == [2048, 2048]


def test_a_table_of_an_earlier_version_keeps_its_entropy_coded_size() -> None:
    (content,) = json.loads(json.dumps(describe_rows([row(model_entropy_coded_bytes=2048)], study="s")))["rows"]
    content["entropy_coded_bytes"] = content.pop("model_entropy_coded_bytes")
    assert Row.from_dict(content).model_entropy_coded_bytes == 2048


def test_tables_say_what_their_intervals_cover() -> None:
    text = tables.format_study_table([row()], study="s", baseline="teacher")
    assert "between processes of one session: on another machine of the same model, absolute times differed by" in text
