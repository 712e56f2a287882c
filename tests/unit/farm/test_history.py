"""Tests of a farm's history and its tables: values, refused and missing nights, damaged records, hostile names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError, UnknownNameError
from edgeproof.farm import (
    alarms,
    engines,
)
from edgeproof.farm.history_reader import read_history
from edgeproof.records import kinds, record_files
from tests.support import record_trees
from tests.support.farm_nights import (
    CELL,
    check,
    write_night,
)

# --- series --------------------------------------------------------------------------------------------------------


def test_the_table_shows_every_night_of_a_cell_with_refused_and_missing_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_night(1, cells=("m", "n"))
    write_night(2, cells=("n",))
    write_night(3, cells=("m",), verdict="invalid")
    write_night(4, cells=("m", "n"))
    assert main.run(["farm", "history", "--model", "m"]) == 0
    text = capsys.readouterr().out
    lines = {words[1].strip(): line for line in text.splitlines() if len(words := line.split("|")) > 4}
    assert list(lines)[-4:] == [f"2026-01-0{number}" for number in range(1, 5)]
    assert "valid" in lines["2026-01-01"]
    assert "µs [" in lines["2026-01-01"]
    assert "| – | missing |" in lines["2026-01-02"]
    assert "| – | refused: refused 3 |" in lines["2026-01-03"]
    assert f"## {CELL} (study): median inference" in text
    assert "board/matrix/n" not in text
    assert "Monitoring starts with night 15" in text


def test_the_estimate_is_the_geometric_mean_of_medians_and_the_nights_value_their_lower_quartile() -> None:
    write_night(1, processes=4)
    ((cell, by_run),) = read_history().cells.items()
    medians = [
        math.log(np.median(record.read_array("latencies.npz", "call_ns")))
        for record in record_files.read_all(engines.HISTORY)
    ]
    (result,) = by_run.values()
    assert str(cell) == CELL
    assert result.log_duration == pytest.approx(np.quantile(medians, 0.25))
    assert result.estimate_ns is not None
    assert result.estimate_ns.value == pytest.approx(math.exp(np.mean(medians)))


def test_only_a_runs_last_attempt_counts_and_refused_processes_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_night(1, processes=3)
    place = engines.HISTORY / run / "board_matrix" / "matrix" / "m.fp32"
    content = json.loads((place / "single_stream.1" / kinds.RECORD_FILE).read_text())
    again = place / "single_stream.1.again1"
    again.mkdir()
    record_files.write_content(
        again, {**content, "attempt": 1, "verdict": "invalid", "reasons": ["a busy board"], "files": {}}
    )
    main.run(["farm", "history"])
    assert "valid, 2 of 3 processes: a busy board" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scenario", "log", "expected_ns"),
    [
        ("multi_stream", {"result_99.00_percentile_per_query_latency_ns": 5000}, 5000),
        ("offline", {"result_samples_per_second": 2e6}, 500),
        ("server", {"result_completed_samples_per_sec": 1e4}, 1e5),
    ],
)
def test_other_scenarios_are_monitored_by_a_duration_too(
    scenario: str, log: dict[str, float], expected_ns: float
) -> None:
    record_trees.write(engines.HISTORY / "2026-01-01", scenario, log=log)
    ((cell, by_run),) = read_history().cells.items()
    assert cell.scenario == scenario
    assert math.exp(by_run["2026-01-01"].log_duration) == pytest.approx(expected_ns)


def test_accuracy_runs_estimates_and_the_harness_are_not_in_the_history() -> None:
    root = engines.HISTORY / "2026-01-01"
    record_trees.write(root, "accuracy", correct=[True])
    record_trees.write(root, runtime="null", session_of="onnx", call_ns=[1000] * 70)
    record_trees.write(root, "unsupported", scheme="int8-static", verdict="unsupported", job=False)
    for scenario in ("profile", "instructions", "estimate"):
        record_trees.write(root, scenario, job=False)
    assert read_history().cells == {}


def test_without_a_night_the_error_names_the_command_that_measures_one() -> None:
    for argv in (["farm", "history"], ["farm", "regressions"]):
        with pytest.raises(EdgeproofError, match="Measure one with 'edgeproof farm run'"):
            main.run(argv)


def test_a_single_night_has_nothing_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    write_night(1)
    assert main.run(["farm", "regressions"]) == 0
    assert (
        "nothing to report; 1 cell(s) have fewer than the 15 nights under the same conditions"
        in capsys.readouterr().out
    )


def test_an_unknown_name_gives_the_existing_ones() -> None:
    write_night(1)
    with pytest.raises(UnknownNameError, match="Did you mean 'board'"):
        main.run(["farm", "history", "--device", "bord"])
    with pytest.raises(UnknownNameError, match="Known: 2026-01-01"):
        main.run(["farm", "regressions", "--run", "../../etc"])


def test_the_history_has_a_store_of_its_own(tmp_path: Path) -> None:
    write_night(1)
    read_history()
    assert sorted(path.name for path in (tmp_path / "results").glob("[!.]*")) == ["history", "history_store"]


# --- damage and hostile names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 2}', '{"schema": 99}'])
def test_a_damaged_record_is_named_skipped_and_counted_and_the_exit_code_is_1(
    damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_night(1)
    run = write_night(2)
    path = next(iter((engines.HISTORY / run).rglob(kinds.RECORD_FILE)))
    path.write_text(damage)
    for verb in ("history", "regressions"):
        assert main.run(["farm", verb]) == 1
        printed = capsys.readouterr()
        assert str(path) in printed.err
        assert "Skipped 1 damaged record(s)" in printed.err
    assert check(run) == [], "the cell's other process is valid"


def test_changed_latencies_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_night(1)
    path = next(iter((engines.HISTORY / run).rglob("latencies.npz")))
    path.write_bytes(path.read_bytes() + b"\0")
    assert main.run(["farm", "history"]) == 1
    assert f"{path} is missing or damaged" in capsys.readouterr().err


HOSTILE = "../../x\n| <b>\x1b[2J; rm -rf ~ '"


def test_hostile_names_stay_in_their_line_and_inside_the_alarms_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in (1, 2):
        root = engines.HISTORY / f"2026-01-0{number}"
        directory = record_trees.write(root, call_ns=[1000] * 70, session_id=str(number))
        content = json.loads((directory / kinds.RECORD_FILE).read_text())
        name = HOSTILE if number == 1 else "fine"
        at = f"2026-01-0{number}T00:00:00+00:00"
        record_files.write_content(directory, {**content, "device": name, "model": name, "measured_at": at})
    assert main.run(["farm", "history"]) == 0
    shown = capsys.readouterr().out
    assert "<b>" not in shown
    assert "\x1b" not in shown
    assert main.run(["farm", "regressions"]) == 1
    assert capsys.readouterr().out.count("\n") == 2
    files = list(tmp_path.rglob(alarms.ALARM_FILE))
    assert len(files) == 1
    assert files[0].resolve().is_relative_to((tmp_path / alarms.ALARMS).resolve())
    assert HOSTILE in json.loads(files[0].read_text())["subject"]
