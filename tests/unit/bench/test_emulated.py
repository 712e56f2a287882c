"""Emulated devices: their accuracy is measured, and their times are kept apart from measured ones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.devices.device import read_card
from edgeproof.provenance import artifact_comparison
from edgeproof.records import queries, record_files, store
from edgeproof.report import grid_marks, grids, plots, row_data, tables
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from edgeproof.report.selections import Selection
from edgeproof.submission import selection
from edgeproof.submission.errors import SubmissionError
from tests.support import record_trees
from tests.support.markdown_tables import read_cells

ORDER = {"devices": ["local", "board"], "models": ["teacher", "student"], "runtimes": ["onnx"]}
CARD = {"emulated": True, "budget": {"latency_ms": 1e9}}
# Latencies that no other figure in these records has.
MEASURED_US, EMULATED_US = 123, 98_765
HITS = [True] * 90 + [False] * 10


@pytest.fixture
def all_rows(tmp_path: Path) -> list[Row]:
    root = tmp_path / "records"
    for device, card, us in (("local", {}, MEASURED_US), ("board", CARD, EMULATED_US)):
        for model in ("teacher", "student"):
            for process in range(2):
                record_trees.write(
                    root, device=device, model=model, process=process, card=card,
                    call_ns=np.full(1000, us * 1000), log={"result_50.00_percentile_latency_ns": us * 1000},
                )  # fmt: skip
            record_trees.write(root, "offline", device=device, model=model, card=card,
                               log={"result_samples_per_second": 54321.0})  # fmt: skip
            record_trees.write(root, "accuracy", device=device, model=model, card=card, correct=HITS)
        record_trees.write(root, runtime="null", device=device, session_of="onnx", card=card, job=True,
                           log={"result_50.00_percentile_latency_ns": 777_000})  # fmt: skip
    return read_rows(root, baseline="teacher", order=ORDER)


def select_device(device: str, all_rows: Sequence[Row]) -> list[Row]:
    return [row for row in all_rows if row.device == device]


def test_an_emulated_device_has_accuracy_and_memory_but_no_times(all_rows: list[Row]) -> None:
    measured, emulated = select_device("local", all_rows)[1], select_device("board", all_rows)[1]
    assert measured.quality == emulated.quality
    assert measured.quality_difference == emulated.quality_difference
    assert measured.peak_rss_bytes == emulated.peak_rss_bytes == 64 * 2**20
    timed = {
        name for name in Row.__annotations__ if name.endswith(("_ns", "_per_s", "_uj", "_up", "between", "within"))
    }
    assert {name for name in timed if getattr(measured, name) is not None} >= {"p50_ns", "speed_up", "harness_p50_ns"}
    assert {name: getattr(emulated, name) for name in timed if getattr(emulated, name) is not None} == {}
    assert emulated.emulated is not None
    assert emulated.emulated["p50_ns"] == pytest.approx(EMULATED_US * 1000)
    assert measured.emulated is None


def test_emulated_times_have_a_table_of_their_own(all_rows: list[Row]) -> None:
    text = tables.format_study_table(all_rows, study="s", baseline="teacher")
    measured, _, rest = text.partition("## Emulated")
    assert {row["device"] for row in read_cells(measured)} == {"local"}
    emulated_cells = read_cells(rest.partition("\nBrackets")[0])
    assert {row["device"] for row in emulated_cells} == {"board"}
    assert {row["verdict"] for row in emulated_cells} == {"emulated"}
    assert {row["emulated p50, µs"] for row in emulated_cells} == {f"{EMULATED_US:,}"}
    assert not {"p50, µs", "speed-up, ×", "Offline at batch 1, samples/s"} & set(emulated_cells[0])
    assert f"{EMULATED_US:,}" not in measured
    assert "cannot be compared with any duration" in rest


def test_machine_readable_files_have_emulated_times_in_separate_columns(all_rows: list[Row]) -> None:
    lines = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(all_rows))))
    assert {line["emulated_p50_ns"] for line in lines if line["device"] == "local"} == {""}
    for line in lines:
        if line["device"] == "board":
            assert float(line["emulated_p50_ns"]) == pytest.approx(EMULATED_US * 1000)
            assert line["p50_ns"] == line["speed_up"] == line["offline_samples_per_s"] == ""
    again = [Row.from_dict(row) for row in json.loads(json.dumps(row_data.describe_rows(all_rows, study="s")))["rows"]]
    assert [row.emulated for row in again] == [row.emulated for row in all_rows]


def test_no_emulated_row_is_on_a_front_or_marked_as_the_fastest(all_rows: list[Row]) -> None:
    chosen = Selection.model_validate({"columns": ["quality", "p50", "emulated_p50", "speed_up", "verdict"]})
    grid = grids.build_grid(all_rows, chosen)
    assert {row["device"] for row in grid.data if row["pareto"]} == {"local"}
    assert {device for device, *_ in grid_marks.find_front(all_rows, ["p50", "quality"])} == {"local"}
    place = [heading.text for heading in grid.headings].index("emulated p50, µs")
    assert not any(line[place].best or line[place].pareto for line in grid.lines)
    names = plots.format_scatter_csv(all_rows, plots.LATENCY)
    assert "board" not in names
    with pytest.raises(ValueError, match="pareto has unknown 'emulated_p50'"):
        Selection.model_validate({"pareto": ["emulated_p50", "quality"]})


def test_an_emulator_cannot_keep_a_budget_of_latency(all_rows: list[Row]) -> None:
    gate = select_device("board", all_rows)[0].budget
    assert gate is not None
    assert (gate.outcome, gate.reasons) == ("unknown", ("latency was not measured",))


def test_the_store_and_comparisons_hold_no_emulated_time(all_rows: list[Row], tmp_path: Path) -> None:
    root = tmp_path / "records"
    store.refresh(root)
    assert {line[1] for line in queries.read_process_medians(root)} == {"local"}
    asked = queries.ask("SELECT count(p50_log), count(quantiles_ns), count(loadgen_p50_ns) FROM records "
                      "WHERE device = 'board'", root).fetchall()  # fmt: skip
    assert asked == [(0, 0, 0)]
    cell = root / "board_onnx" / "onnx"
    with pytest.raises(EdgeproofError, match="of an emulator, whose latency compares with nothing"):
        artifact_comparison.compare_artifacts(cell / "teacher.fp32", cell / "student.fp32")


def test_an_emulated_run_cannot_be_submitted(tmp_path: Path) -> None:
    more: dict[str, Any] = {"preset": "official", "card": {"emulated": True}, "runner": "r", "correct": HITS}
    record_trees.write(tmp_path, "accuracy", **more)
    record = next(iter(record_files.read_all(tmp_path)))
    record.content["job"]["mode"] = "AccuracyOnly"  # type: ignore[index]
    record.content["artifact"]["model"]["sha256"] = "s"  # type: ignore[index]
    reasons = [refusal.reason for refusal in selection._check_record(record, "inference")]
    assert "was measured on an emulator, whose latencies are meaningless; expected a real device" in reasons
    with pytest.raises(SubmissionError):
        selection.select(tmp_path, "inference")


def test_a_table_of_emulated_rows_only_has_no_empty_table_of_measured_rows(all_rows: list[Row]) -> None:
    text = tables.format_study_table(select_device("board", all_rows), study="s", baseline="teacher")
    before, heading, _ = text.partition("## Emulated")
    assert heading
    assert "|" not in before


def test_a_runtime_for_microcontrollers_has_an_arena_and_a_budget_but_no_times(tmp_path: Path) -> None:
    card = {"emulated": True, "budget": {"flash_kib": 1024, "ram_kib": 16}}
    for process in range(2):
        record_trees.write(
            tmp_path, runtime="tflm", process=process, card=card, call_ns=np.full(1000, EMULATED_US * 1000),
            result={"memory_plan": {"total": 24272, "head": 16000, "tail": 8272}},
        )  # fmt: skip
    (row,) = read_rows(tmp_path, baseline="teacher", order={**ORDER, "runtimes": ["tflm"]})
    assert (row.arena_bytes, row.peak_rss_bytes, row.p50_ns, row.load_ns) == (24272, None, None, None)
    assert row.budget is not None
    assert row.budget.reasons == ("ram is up to 23.7 KiB (limit 16)",)
    text = tables.format_study_table([row], study="s", baseline="teacher")
    (cells,) = read_cells(text.partition("## Emulated")[2].partition("\nBrackets")[0])
    assert (cells["arena, KiB"], cells["budget"], cells["verdict"]) == ("23.7", "exceeded", "emulated")


def test_the_session_of_an_untimed_runtime_is_one_of_an_emulated_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices").mkdir()
    Path("devices/chip.yaml").write_text("{transport: local, threads: 1}")
    assert read_card("chip", "tflm").emulated
    assert not read_card("chip", "onnx").emulated
