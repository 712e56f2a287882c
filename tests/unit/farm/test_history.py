"""Tests of a farm's history: series of cells, missing cells, changed devices, and slowdowns with their A/B tests."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.config import compose
from edgeproof.config.params import Params
from edgeproof.core import directories
from edgeproof.core.errors import ArtifactError, EdgeproofError, UnknownNameError
from edgeproof.farm import (
    ab_test,
    alarms,
    artifact_cache,
    dispatcher,
    engines,
    history,
    journal,
    leases,
    level_changes,
    quarantine,
    regression_check,
)
from edgeproof.farm.ab_test import GOOD, SUSPECT, ABTestSetup
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.history_reader import read_history
from edgeproof.records import kinds, record_files
from tests.support import record_trees
from tests.support.bench_project import write_project
from tests.support.farm_runs import write_params

OLD, NEW = "a" * 64, "b" * 64
CELL = "board/matrix/m/fp32 single_stream"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def night(
    number: int,
    us: float = 100.0,
    *,
    sha: str = OLD,
    cells: Sequence[str] = ("m",),
    processes: int = 2,
    verdict: str = "valid",
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Write a night of the board whose cells all take `us` microseconds. Processes differ by a thousandth."""
    run = f"2026-01-{number:02d}"
    rng = np.random.default_rng(number)
    for model in cells:
        for process in range(processes):
            level = us * 1000 * math.exp(rng.normal(0, 0.001))
            record_trees.write(
                engines.HISTORY / run,
                device="board",
                runtime="matrix",
                model=model,
                process=process,
                verdict=verdict,
                reasons=() if verdict == "valid" else (f"refused {number}",),
                call_ns=rng.normal(level, level / 100, 70).astype(int) if verdict == "valid" else None,
                measured_at=f"{run}T01:00:00+00:00",
                session_id=f"session {run}",
                artifact={"sha256": sha},
                result={"versions": {"matrix": "1.0"}, **(result or {})},
                **changes,
            )
    return run


def write_nights(last: int, **changes: Any) -> str:
    for number in range(1, last + 1):
        night(number, **changes)
    return f"2026-01-{last:02d}"


def write_step(after: float = 1.06, sha: str = NEW) -> str:
    """Write a history whose last night is the one on which a step is detected, and return that night."""
    for number in range(1, 17):
        night(number)
    for number in range(17, 22):
        run = night(number, 100 * after, sha=sha)
        nights = read_history()
        (cell,) = nights.cells
        if nights.find_changes(cell, nights.split_segments(cell)[-1]).changes:
            return run
    raise AssertionError("no step is detected")


def fail_if_called(setup: ABTestSetup, out: Path) -> None:
    raise AssertionError("no A/B test should run")


# --- series --------------------------------------------------------------------------------------------------------


def test_the_table_shows_every_night_of_a_cell_with_refused_and_missing_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    night(1, cells=("m", "n"))
    night(2, cells=("n",))
    night(3, cells=("m",), verdict="invalid")
    night(4, cells=("m", "n"))
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
    night(1, processes=4)
    ((cell, by_run),) = read_history().cells.items()
    medians = [
        math.log(np.median(record.array("latencies.npz", "call_ns")))
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
    run = night(1, processes=3)
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
    night(1)
    assert main.run(["farm", "regressions"]) == 0
    assert (
        "nothing to report; 1 cell(s) have fewer than the 15 nights under the same conditions"
        in capsys.readouterr().out
    )


def test_an_unknown_name_gives_the_existing_ones() -> None:
    night(1)
    with pytest.raises(UnknownNameError, match="Did you mean 'board'"):
        main.run(["farm", "history", "--device", "bord"])
    with pytest.raises(UnknownNameError, match="Known: 2026-01-01"):
        main.run(["farm", "regressions", "--run", "../../etc"])


def test_the_history_has_a_store_of_its_own(tmp_path: Path) -> None:
    night(1)
    read_history()
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["history", "history_store"]


# --- damage and hostile names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 2}', '{"schema": 99}'])
def test_a_damaged_record_is_named_skipped_and_counted_and_the_exit_code_is_1(
    damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    night(1)
    run = night(2)
    path = next(iter((engines.HISTORY / run).rglob(kinds.RECORD_FILE)))
    path.write_text(damage)
    for verb in ("history", "regressions"):
        assert main.run(["farm", verb]) == 1
        printed = capsys.readouterr()
        assert str(path) in printed.err
        assert "Skipped 1 damaged record(s)" in printed.err
    assert check(run) == [], "the cell's other process is valid"


def test_changed_latencies_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    run = night(1)
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


# --- missing, and changed ------------------------------------------------------------------------------------------


def check(run: str | None = None, runner: ab_test.ABTestRunner = fail_if_called) -> list[Alarm]:
    return list(regression_check.check(run, ab_test_runner=runner).alarms)


def test_a_cell_without_a_record_or_with_refused_runs_only_is_missing() -> None:
    night(1, cells=("m", "n", "o"))
    night(2, cells=("o",))
    night(2, cells=("n",), verdict="error")
    assert {alarm.subject: alarm.message for alarm in check()} == {
        CELL: "no record (last measured on 2026-01-01)",
        CELL.replace("/m/", "/n/"): "refused: refused 2 (last measured on 2026-01-01)",
    }


def test_a_cell_that_was_not_requested_is_not_missing(digits_study: Params) -> None:
    night(1, cells=("m", "n"))
    run = night(2, cells=("m",))
    assert [alarm.subject for alarm in check()] == [CELL.replace("/m/", "/n/")]
    write_params(digits_study, run)
    assert check() == []


def test_a_requested_cell_stays_missing_until_it_is_measured_again(digits_study: Params) -> None:
    night(1)
    for number in (2, 3):
        write_params(digits_study, night(number, cells=("n",)))
    assert [(alarm.kind, alarm.message) for alarm in check()] == [
        ("missing", "no record (last measured on 2026-01-01)")
    ]
    write_params(digits_study, night(4))
    assert check() == []


def test_a_night_without_any_record_is_checked(digits_study: Params) -> None:
    night(1)
    write_params(digits_study, "2099-01-01")
    journal.Journal(engines.FARM / "2099-01-01" / engines.JOURNAL).append("started", "board_matrix", "board", 1)
    assert [(alarm.run, alarm.kind, alarm.subject) for alarm in check()] == [("2099-01-01", "missing", CELL)]


def test_a_changed_fingerprint_is_reported_and_starts_a_new_series() -> None:
    write_nights(16)
    run = night(17, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
    (alarm,) = check()
    assert (alarm.kind, alarm.subject, alarm.run) == ("fingerprint", "board", run)
    assert "cpu: A Processor → Another Processor" in alarm.message
    assert "kernel: absent → 7.0" in alarm.message
    assert f"{CELL} moved most, 2" in alarm.message
    nights = read_history()
    (cell,) = nights.cells
    assert [len(segment) for segment in nights.split_segments(cell)] == [16, 1]
    for number in (18, 19, 20, 21):
        night(number, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
        assert check() == []


def test_a_changed_runtime_version_is_reported() -> None:
    night(1)
    night(2, result={"versions": {"matrix": "2.0"}})
    (alarm,) = check()
    assert "packages.matrix: 1.0 → 2.0" in alarm.message


def test_an_older_night_is_judged_by_the_nights_up_to_it() -> None:
    night(1)
    night(2, result={"fingerprint": {"cpu": "Another Processor"}})
    night(3)
    assert check("2026-01-01") == []
    assert [alarm.run for alarm in check("2026-01-02")] == ["2026-01-02"]


# --- steps and their A/B tests ------------------------------------------------------------------------------------


def cache_artifact(content: str) -> str:
    """Put an artifact into the cache and return its sha256."""
    place = Path("built") / content
    place.mkdir(parents=True)
    (place / "model").write_text(content)
    directories.write_meta(place, {"scheme": "fp32"})
    artifact_cache.store_artifact(place, "fp32")
    return directories.content_sha256(directories.read_meta(place))


def simulate(ratio: float, spread: float = 0.002, rounds: int = ab_test.ROUNDS) -> Callable[[ABTestSetup, Path], None]:
    """Return a simulated A/B test in which the suspect takes `ratio` times as long."""

    def run(setup: ABTestSetup, out: Path) -> None:
        assert setup.session == "board_matrix"
        rng = np.random.default_rng(5)
        for name in (GOOD, SUSPECT):
            assert (setup.artifacts / name / "fp32" / "model").read_text() == name
        for process in range(rounds):
            record_trees.in_turns(
                out, math.log(ratio) + rng.normal(0, spread), process, runtime="matrix", model=SUSPECT
            )

    return run


@pytest.fixture
def suspicious(digits_study: Params, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(compose, "read_default_study", lambda: "study")
    for number in range(1, 17):
        night(
            number,
            sha=cache_artifact(GOOD)
            if number == 1
            else directories.content_sha256(directories.read_meta(Path("built/good"))),
        )
    sha = cache_artifact(SUSPECT)
    for number in range(17, 22):
        run = night(number, 106, sha=sha)
        nights = read_history()
        (cell,) = nights.cells
        if nights.find_changes(cell, nights.split_segments(cell)[-1]).changes:
            write_params(digits_study, run)
            return run
    raise AssertionError("no step is detected")


def test_a_step_that_an_a_b_test_confirms_is_a_regression_with_its_records(suspicious: str) -> None:
    (alarm,) = check(runner=simulate(1.06))
    assert alarm.kind == "regression"
    assert "6." in alarm.message
    assert "since 2026-01-17" in alarm.message
    assert "10 rounds: 1.06" in alarm.message
    assert alarm.details.comparison.verdict == "slower"
    assert alarm.details.comparison.paired
    (place,) = (alarms.ALARMS / suspicious).iterdir()
    assert len(list(record_files.read_all(place / alarms.RECORDS_DIRECTORY))) == 10
    content = json.loads((place / alarms.ALARM_FILE).read_text())
    assert content["told"] == alarm.message
    assert check(runner=fail_if_called) == [alarm], "a settled suspicion is not measured again"
    assert not regression_check.check(None, ab_test_runner=fail_if_called).is_clean


def test_a_step_that_an_a_b_test_does_not_confirm_needs_no_attention(suspicious: str) -> None:
    result = regression_check.check(None, ab_test_runner=simulate(1.0))
    (alarm,) = result.alarms
    assert alarm.kind == "not confirmed"
    assert "not shown to be slower by more than 2%" in alarm.message
    assert result.is_clean
    assert "1 not confirmed" in result.summary


def test_an_unconfirmed_suspicion_says_why_and_is_tested_again(suspicious: str) -> None:
    quarantine.add("board", "smoke")
    (alarm,) = check(runner=fail_if_called)
    assert alarm.kind == "unconfirmed"
    assert "could not be confirmed: device 'board' is in quarantine" in alarm.message
    assert check(runner=fail_if_called) == [alarm]
    quarantine.release("board")
    with leases.hold("board", "another"):
        assert "is in use by process" in check(runner=fail_if_called)[0].message
    assert check(runner=simulate(1.06))[0].kind == "regression"
    assert len(list((alarms.ALARMS / suspicious).iterdir())) == 3, "each version stays"
    assert check(runner=fail_if_called)[0].kind == "regression"


def test_too_few_valid_rounds_leave_a_suspicion_unconfirmed(suspicious: str) -> None:
    (alarm,) = check(runner=simulate(1.06, rounds=2))
    assert "only 2 of 10 rounds were valid" in alarm.message


def test_a_missing_or_damaged_good_artifact_leaves_a_suspicion_unconfirmed(suspicious: str) -> None:
    good = artifact_cache.find(directories.content_sha256(directories.read_meta(Path("built/good"))), "fp32")
    (good / "model").write_text("tampered")
    assert "is damaged" in check(runner=fail_if_called)[0].message
    for path in good.iterdir():
        path.unlink()
    good.rmdir()
    assert "is no longer in the artifact cache" in check(runner=fail_if_called)[0].message


def test_a_step_with_the_same_artifact_is_an_alarm_of_conditions_without_an_a_b_test() -> None:
    run = write_step(sha=OLD)
    (alarm,) = check(runner=fail_if_called)
    assert (alarm.kind, alarm.run) == ("conditions", run)
    assert (
        "with the same bytes (aaaaaaaaaaaa…), so no A/B test can show it. Changed: nothing else that is recorded"
        in alarm.message
    )
    assert check(runner=fail_if_called) == [alarm]


def test_a_step_without_the_runs_parameters_is_unconfirmed() -> None:
    write_step()
    (alarm,) = check(runner=fail_if_called)
    assert alarm.kind == "unconfirmed"
    assert "params.yaml is missing" in alarm.message


def test_a_speed_up_is_reported_and_needs_no_attention(capsys: pytest.CaptureFixture[str]) -> None:
    write_step(0.9)
    assert main.run(["farm", "regressions"]) == 0
    assert f"faster: {CELL}: 10." in capsys.readouterr().out


def test_a_step_is_reported_only_on_the_night_of_its_detection(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_step(sha=OLD)
    night(int(run[-2:]) + 1, 106, sha=OLD)
    assert check(runner=fail_if_called) == []
    main.run(["farm", "history"])
    text = capsys.readouterr().out
    assert f"from here (detected on {run})" in next(
        line for line in text.splitlines() if line.startswith("| 2026-01-17")
    )


def test_an_unreadable_alarm_is_written_again(suspicious: str) -> None:
    check(runner=simulate(1.06))
    (path,) = (alarms.ALARMS / suspicious).rglob(alarms.ALARM_FILE)
    for damage in ("{", '{"schema": 1, "kind": "peace"}', "[]"):
        path.write_text(damage)
        assert check(runner=simulate(1.06))[0].kind == "regression"


def test_a_night_with_another_artifact_shortly_before_the_step_is_the_last_good_one() -> None:
    def make_night(number: int, sha: str) -> history.NightResult:
        return history.NightResult(str(number), [], 1, [], sha, {}, None, None, None)

    segment = [make_night(number, OLD) for number in range(16)] + [make_night(number, NEW) for number in range(16, 20)]
    assert level_changes.find_last_good(segment, 17).run == "15"
    assert level_changes.find_last_good(segment, 15).run == "14"
    assert level_changes.find_last_good(segment[:3] + segment[16:] * 3, 12).artifact == NEW


def test_an_a_b_test_that_fails_leaves_the_suspicion_unconfirmed(
    plugin_root: Path, tmp_path: Path, suspicious: str
) -> None:
    write_project(tmp_path)  # its data belong to another task
    (alarm,) = regression_check.check(None).alarms
    assert alarm.kind == "unconfirmed"
    assert "the A/B test failed: data/digits/test has no meta.json" in alarm.message


# --- the end of a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "code"), [(False, 0), (True, 1)])
def test_a_run_ends_with_its_check(
    missing: bool, code: int, digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    night(1, cells=("m", "n"))

    def farm(*_: Any) -> dict[str, str]:
        night(2, cells=("m",) if missing else ("m", "n"))
        return {"board_matrix": "done"}

    monkeypatch.setattr(dispatcher, "prepare", lambda *_: (digits_study, Path("nothing")))
    monkeypatch.setattr(dispatcher, "run_study", farm)
    assert main.run(["farm", "run", "--name", "2026-01-02"]) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith(f"check of 2026-01-02: {'1 missing' if missing else 'nothing to'}")
    assert "not cached: nothing/artifacts" in printed.err


def test_a_run_whose_check_fails_ends_with_1(
    digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dispatcher, "prepare", lambda *_: (digits_study, Path()))
    monkeypatch.setattr(dispatcher, "run_study", lambda *_: {"board_matrix": "done"})
    assert main.run(["farm", "run", "--name", "tonight"]) == 1
    assert "the check of the night failed: results/history holds no night" in capsys.readouterr().err


# --- the artifact cache --------------------------------------------------------------------------------------------


def test_only_the_artifacts_of_a_cells_latest_nights_stay_cached() -> None:
    shas = [cache_artifact(f"model {number}") for number in range(artifact_cache.KEPT_NIGHTS + 2)]
    for number, sha in enumerate(shas, 1):
        night(number, sha=sha)
    for path in (engines.FARM / "artifacts").iterdir():
        os.utime(path, (0, 0))
    fresh = cache_artifact("being measured now")
    check(runner=fail_if_called)
    assert artifact_cache.find(fresh, "fp32").is_dir()
    for sha in shas[2:]:
        assert artifact_cache.find(sha, "fp32").is_dir()
    for sha in shas[:2]:
        with pytest.raises(ArtifactError, match="no longer in the artifact cache"):
            artifact_cache.find(sha, "fp32")


@pytest.mark.parametrize("sha", ["../../../etc", "..", "", "/etc/passwd"])
def test_a_hostile_sha256_is_never_in_the_cache(sha: str) -> None:
    with pytest.raises(ArtifactError, match="no longer in the artifact cache"):
        artifact_cache.find(sha, "fp32")
