"""Check budgets: a figure keeps to its limit if its whole interval does, and an unmeasured one never does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.report import grids, row_data, tables
from edgeproof.report.budgets import check_budget
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from edgeproof.report.selections import Selection
from edgeproof.statistics.estimates import Estimate
from tests.support import record_trees
from tests.support.example_rows import PLAIN
from tests.support.markdown_tables import read_cells

FULL = replace(
    PLAIN,
    size_bytes=12_000_000,
    p90_ns=Estimate(40e6, 30e6, 50e6),
    peak_rss_bytes=999_000_000,
    energy_uj=Estimate(900.0, 800.0, 1000.0),
)
CAMERA = {"size_mb": 12.0, "latency_ms": 50.0, "memory_mb": 1000.0, "energy_mj": 1.0}


def test_figures_at_their_limits_are_within() -> None:
    gate = check_budget(FULL, CAMERA)
    assert gate is not None
    assert (gate.outcome, gate.reasons) == ("within", ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size_bytes": 12_000_001}, "size is up to 12 MB (limit 12)"),
        ({"p90_ns": Estimate(40e6, 30e6, 50.1e6)}, "latency is up to 50.1 ms (limit 50)"),
        ({"p90_ns": Estimate(60e6, math.nan, math.nan)}, "latency is up to 60 ms (limit 50)"),
        ({"peak_rss_bytes": 1_200_000_000}, "memory is up to 1200 MB (limit 1000)"),
        ({"energy_uj": Estimate(2500.0, 2400.0, 2600.0)}, "energy is up to 2.6 mJ (limit 1)"),
    ],
)
def test_each_figure_beyond_its_limit_has_a_reason(changes: dict[str, Any], reason: str) -> None:
    gate = check_budget(replace(FULL, **changes), CAMERA)
    assert gate is not None
    assert (gate.outcome, gate.reasons) == ("exceeded", (reason,))


MICROCONTROLLER = {"flash_kib": 1024.0, "ram_kib": 256.0}


@pytest.mark.parametrize(
    ("size", "arena", "outcome", "reasons"),
    [
        (1024 * 1024, 256 * 1024, "within", ()),
        (1024 * 1024 + 1, 24272, "exceeded", ("flash is up to 1024 KiB (limit 1024)",)),
        (53_936, 300 * 1024, "exceeded", ("ram is up to 300 KiB (limit 256)",)),
        (53_936, None, "unknown", ("ram was not measured",)),
    ],
)
def test_a_microcontroller_limits_the_file_by_its_flash_and_the_arena_by_its_ram(
    size: int, arena: int | None, outcome: str, reasons: tuple[str, ...]
) -> None:
    gate = check_budget(replace(PLAIN, size_bytes=size, arena_bytes=arena), MICROCONTROLLER)
    assert gate is not None
    assert (gate.outcome, gate.reasons) == (outcome, reasons)


def test_an_unmeasured_figure_is_unknown_and_never_within() -> None:
    gate = check_budget(replace(FULL, p90_ns=None, energy_uj=None), CAMERA)
    assert gate is not None
    assert (gate.outcome, gate.reasons) == ("unknown", ("latency was not measured", "energy was not measured"))


def test_one_exceeded_figure_decides_even_if_others_are_unknown() -> None:
    gate = check_budget(replace(FULL, p90_ns=None, size_bytes=10**9), CAMERA)
    assert gate is not None
    assert gate.outcome == "exceeded"
    assert len(gate.reasons) == 2


@pytest.mark.parametrize("budget", [None, {}, {"size_mb": None, "latency_ms": None}])
def test_without_limits_there_is_no_gate(budget: dict[str, float | None] | None) -> None:
    assert check_budget(FULL, budget) is None


def test_an_unsupported_artifact_has_no_gate() -> None:
    assert check_budget(replace(FULL, verdict="unsupported"), CAMERA) is None


@given(st.floats(0.1, 100), st.floats(0, 50), st.floats(0.1, 100))
def test_latency_is_within_its_limit_if_and_only_if_its_upper_end_is(
    p90_ms: float, half_ms: float, limit_ms: float
) -> None:
    row = replace(FULL, p90_ns=Estimate(p90_ms * 1e6, (p90_ms - half_ms) * 1e6, (p90_ms + half_ms) * 1e6))
    gate = check_budget(row, {"latency_ms": limit_ms})
    assert gate is not None
    high_ms = (p90_ms + half_ms) * 1e6 / 1e6
    assert (gate.outcome == "within") == (high_ms <= limit_ms)


# --- from records to the table -------------------------------------------------------------------------------------

ORDER = {"devices": ["camera", "local"], "models": ["teacher"], "runtimes": ["onnx", "tflite"]}


def format_table(root: Path) -> tuple[list[Row], str]:
    rows = read_rows(root, baseline="teacher", order=ORDER)
    return rows, tables.format_study_table(rows, study="s", baseline="teacher")


def test_only_rows_of_a_device_with_a_budget_have_a_gate(tmp_path: Path) -> None:
    calls = np.full(1000, 60_000_000)
    budget = {"budget": {"latency_ms": 50.0, "size_mb": 12.0}}
    record_trees.write(tmp_path, device="camera", call_ns=calls, card=budget)
    record_trees.write(tmp_path, device="local", call_ns=calls, card={"budget": None})
    rows, text = format_table(tmp_path)
    assert [row["budget"] for row in read_cells(text.partition("Not shown")[0])] == ["exceeded", "–"]
    assert "`camera` `teacher` onnx fp32: latency is up to 60 ms (limit 50)" in text
    assert rows[0].verdict == "valid"  # the run is good, the artifact too slow
    assert row_data.describe_rows(rows, study="s")["rows"][0]["budget"]["outcome"] == "exceeded"
    assert "latency is up to 60 ms (limit 50)" in row_data.format_rows_as_csv(rows)


# --- estimates -----------------------------------------------------------------------------------------------------

ESTIMATE = {
    "cycles": 61113, "npu_cycles": 41773, "inference_ns": 122226, "clock_hz": 500_000_000, "sram_bytes": 10752,
    "dram_bytes": 0, "flash_bytes": 37936, "system_config": "High_End", "memory_mode": "Shared_Sram",
    "npu": "ethos-u55-128", "npu_operators": 15, "cpu_operators": 0, "tool": "ethos-u-vela 5.2.0",
}  # fmt: skip


def test_estimates_have_a_table_of_their_own_and_are_in_no_measured_column(tmp_path: Path) -> None:
    npu = {"npu": "ethos-u55-128", "budget": None}
    record_trees.write(tmp_path, device="local", runtime="tflite", call_ns=np.full(1000, 60_000))
    estimated = {"device": "camera", "runtime": "tflite", "scheme": "int8-static", "card": npu, "job": False}
    record_trees.write(tmp_path, "estimate", estimate=ESTIMATE, **estimated)
    record_trees.write_unsupported(
        tmp_path, "Vela places none of it", device="camera", runtime="tflite", scheme="fp32", card=npu
    )
    rows, text = format_table(tmp_path)
    measured, _, rest = text.partition("## Estimated, not measured")
    assert [row["device"] for row in read_cells(measured)] == ["local"]
    refused, estimated_row = read_cells(rest)
    assert (refused["verdict"], refused["estimated cycles"]) == ("unsupported", "–")
    assert (estimated_row["verdict"], estimated_row["estimated cycles"], estimated_row["estimated time, µs"]) == (
        "estimated",
        "61,113",
        "122.2",
    )
    assert (estimated_row["SRAM, KiB"], estimated_row["NPU"]) == ("10.5", "ethos-u55-128")
    (row,) = [row for row in rows if row.estimate]
    assert row.p50_ns is row.p90_ns is row.quality is row.speed_up is row.peak_rss_bytes is row.energy_uj is None
    assert "estimated_cycles" in row_data.format_rows_as_csv(rows).partition("\n")[0]
    assert [line[0].value for line in grids.build_grid(rows, Selection()).lines] == ["local"]
    assert Row.from_dict(row_data.describe_rows(rows, study="s")["rows"][rows.index(row)]) == row
