"""An emulator's answers are measured; its times are told apart and never meet a measured one."""

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
from edgeproof.provenance import artifact_comparison
from edgeproof.records import queries, record_files, store
from edgeproof.report import grid_marks, grids, plots, row_data, tables
from edgeproof.report.markdown_text import format_markdown_table
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from edgeproof.report.selections import Selection
from edgeproof.submission import selection
from edgeproof.submission.errors import SubmissionError
from tests.support import record_trees
from tests.unit.report.test_tables import cells

ORDER = {"devices": ["local", "board"], "models": ["teacher", "student"], "runtimes": ["onnx"]}
CARD = {"emulated": True, "budget": {"latency_ms": 1e9}}
# As many microseconds as no other figure of these trees has.
MEASURED_US, EMULATED_US = 123, 98_765
HITS = [True] * 90 + [False] * 10


@pytest.fixture
def found(tmp_path: Path) -> list[Row]:
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


def of(device: str, found: Sequence[Row]) -> list[Row]:
    return [row for row in found if row.device == device]


def test_an_emulated_device_has_accuracy_and_memory_and_no_figure_of_time(found: list[Row]) -> None:
    measured, emulated = of("local", found)[1], of("board", found)[1]
    assert measured.accuracy == emulated.accuracy
    assert measured.accuracy_difference == emulated.accuracy_difference
    assert measured.peak_rss_bytes == emulated.peak_rss_bytes == 64 * 2**20
    timed = {
        name for name in Row.__annotations__ if name.endswith(("_ns", "_per_s", "_uj", "_up", "between", "within"))
    }
    assert {name for name in timed if getattr(measured, name) is not None} >= {"p50_ns", "speed_up", "harness_p50_ns"}
    assert {name: getattr(emulated, name) for name in timed if getattr(emulated, name) is not None} == {}
    assert emulated.emulated is not None
    assert emulated.emulated["p50_ns"] == pytest.approx(EMULATED_US * 1000)
    assert measured.emulated is None


def test_emulated_times_stand_in_a_table_of_their_own_that_says_so(found: list[Row]) -> None:
    text = tables.format_study_table(found, study="s", baseline="teacher")
    measured, _, rest = text.partition("## Emulated")
    assert {row["device"] for row in cells(measured)} == {"local"}
    told = cells(rest.partition("\nBrackets")[0])
    assert {row["device"] for row in told} == {"board"}
    assert {row["verdict"] for row in told} == {"emulated"}
    assert {row["emulated p50, µs"] for row in told} == {f"{EMULATED_US:,}"}
    assert not {"p50, µs", "speed-up, ×", "Offline, samples/s"} & set(told[0])
    assert f"{EMULATED_US:,}" not in measured
    assert "compare with nothing" in rest


def test_the_files_for_programs_keep_emulated_times_in_columns_of_their_own(found: list[Row]) -> None:
    lines = list(csv.DictReader(io.StringIO(row_data.format_rows_as_csv(found))))
    assert {line["emulated_p50_ns"] for line in lines if line["device"] == "local"} == {""}
    for line in lines:
        if line["device"] == "board":
            assert float(line["emulated_p50_ns"]) == pytest.approx(EMULATED_US * 1000)
            assert line["p50_ns"] == line["speed_up"] == line["offline_samples_per_s"] == ""
    again = [Row.from_dict(row) for row in json.loads(json.dumps(row_data.describe_rows(found, study="s")))["rows"]]
    assert [row.emulated for row in again] == [row.emulated for row in found]


def test_no_emulated_row_is_on_a_front_or_marked_the_best_in_time(found: list[Row]) -> None:
    chosen = Selection.model_validate({"columns": ["accuracy", "p50", "emulated_p50", "speed_up", "verdict"]})
    grid = grids.build_grid(found, chosen)
    assert {row["device"] for row in grid.data if row["pareto"]} == {"local"}
    assert {device for device, *_ in grid_marks.find_front(found, ["p50", "accuracy"])} == {"local"}
    place = [heading.text for heading in grid.headings].index("emulated p50, µs")
    assert not any(line[place].best or line[place].pareto for line in grid.lines)
    names = plots.format_scatter_csv(found, "p50_us", lambda row: None if row.p50_ns is None else row.p50_ns.value)
    assert "board" not in names
    with pytest.raises(ValueError, match="pareto has unknown 'emulated_p50'"):
        Selection.model_validate({"pareto": ["emulated_p50", "accuracy"]})


def test_a_budget_of_latency_is_not_held_by_an_emulator(found: list[Row]) -> None:
    gate = of("board", found)[0].budget
    assert gate is not None
    assert (gate.outcome, gate.reasons) == ("unknown", ("latency was not measured",))


def test_the_store_and_comparisons_never_see_an_emulated_time(found: list[Row], tmp_path: Path) -> None:
    root = tmp_path / "records"
    store.refresh(root)
    assert {line[1] for line in queries.read_process_medians(root)} == {"local"}
    asked = queries.ask("SELECT count(p50_log), count(quantiles_ns), count(loadgen_p50_ns) FROM records "
                      "WHERE device = 'board'", root).fetchall()  # fmt: skip
    assert asked == [(0, 0, 0)]
    cell = root / "board_onnx" / "onnx"
    with pytest.raises(EdgeproofError, match="of an emulator, whose latency compares with nothing"):
        artifact_comparison.compare_artifacts(cell / "teacher.fp32", cell / "student.fp32")


def test_an_emulated_run_is_no_submission(tmp_path: Path) -> None:
    more: dict[str, Any] = {"preset": "official", "card": {"emulated": True}, "runner": "r", "correct": HITS}
    record_trees.write(tmp_path, "accuracy", **more)
    record = next(iter(record_files.read_all(tmp_path)))
    record.content["job"]["mode"] = "AccuracyOnly"  # type: ignore[index]
    record.content["artifact"]["model"]["sha256"] = "s"  # type: ignore[index]
    assert "was measured on an emulator, whose latencies are meaningless; expected a real device" in list(
        selection._check_record(record)
    )
    with pytest.raises(SubmissionError):
        selection.select(tmp_path)


def test_a_table_of_emulated_rows_alone_has_no_empty_table_of_measured_ones(found: list[Row]) -> None:
    text = tables.format_study_table(of("board", found), study="s", baseline="teacher")
    assert format_markdown_table([], tables.COLUMNS)[0] not in text
    assert "## Emulated" in text
