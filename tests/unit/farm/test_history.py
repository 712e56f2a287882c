"""A farm's nights: every cell's series, what is missing or changed, and which step an A/B confirms."""

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
from edgeproof.config import compose, params_file
from edgeproof.config.params import BenchParams, Params
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
    quarantine,
    regression_check,
)
from edgeproof.farm.ab_test import GOOD, SUSPECT, ABTestSetup
from edgeproof.farm.alarms import Alarm
from edgeproof.records import kinds, record_files
from tests.support import record_trees
from tests.unit.bench.test_session import ITEM, write_project

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
    """Write a night of the board, whose cells all take so long; processes differ by a thousandth."""
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
                session_id=f"sitting {run}",
                artifact={"sha256": sha},
                result={"versions": {"matrix": "1.0"}, **(result or {})},
                **changes,
            )
    return run


def nights(last: int, **changes: Any) -> str:
    for number in range(1, last + 1):
        night(number, **changes)
    return f"2026-01-{last:02d}"


def stepping(after: float = 1.06, sha: str = NEW) -> str:
    """A history whose last night is that on which a step is seen."""
    for number in range(1, 17):
        night(number)
    for number in range(17, 22):
        run = night(number, 100 * after, sha=sha)
        told = history.read()
        (cell,) = told.cells
        if told.find_changes(cell, told.split_segments(cell)[-1]).changes:
            return run
    raise AssertionError("no step is seen")


def never(pair: ABTestSetup, out: Path) -> None:
    raise AssertionError("no A/B is to be made")


# --- series --------------------------------------------------------------------------------------------------------


def test_every_cell_has_its_nights_with_what_was_refused_and_missing(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "from 15 on, each is judged" in text


def test_a_value_is_the_medians_geometric_mean_and_a_night_in_one_number_their_lower_quartile() -> None:
    night(1, processes=4)
    told = history.read()
    ((cell, by_run),) = told.cells.items()
    medians = [
        math.log(np.median(record.array("latencies.npz", "call_ns")))
        for record in record_files.read_all(engines.HISTORY)
    ]
    (found,) = by_run.values()
    assert str(cell) == CELL
    assert found.value == pytest.approx(np.quantile(medians, 0.25))
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(math.exp(np.mean(medians)))


def test_a_repeated_run_counts_by_its_last_attempt_and_a_partly_refused_night_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = night(1, processes=3)
    place = engines.HISTORY / run / "board_matrix" / "matrix" / "m.fp32"
    content = json.loads((place / "single_stream.1" / kinds.RECORD_FILE).read_text())
    again = place / "single_stream.1.again1"
    again.mkdir()
    record_files.write(again, {**content, "attempt": 1, "verdict": "invalid", "reasons": ["a busy board"], "files": {}})
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
def test_other_scenarios_are_followed_by_a_duration_too(
    scenario: str, log: dict[str, float], expected_ns: float
) -> None:
    record_trees.write(engines.HISTORY / "2026-01-01", scenario, log=log)
    ((cell, by_run),) = history.read().cells.items()
    assert cell.scenario == scenario
    assert math.exp(by_run["2026-01-01"].value) == pytest.approx(expected_ns)


def test_accuracy_estimates_and_the_harness_are_no_cells() -> None:
    root = engines.HISTORY / "2026-01-01"
    record_trees.write(root, "accuracy", correct=[True])
    record_trees.write(root, runtime="null", session_of="onnx", call_ns=[1000] * 70)
    record_trees.write(root, "unsupported", scheme="int8-static", verdict="unsupported", job=False)
    for scenario in ("profile", "instructions", "estimate"):
        record_trees.write(root, scenario, job=False)
    assert history.read().cells == {}


def test_without_any_night_it_is_said_how_one_is_made() -> None:
    for argv in (["farm", "history"], ["farm", "regressions"]):
        with pytest.raises(EdgeproofError, match="'edgeproof farm run' measures one"):
            main.run(argv)


def test_one_night_alone_has_nothing_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    night(1)
    assert main.run(["farm", "regressions"]) == 0
    assert "nothing to report; 1 cell(s) have fewer than 15 nights alike" in capsys.readouterr().out


def test_unknown_names_are_answered_with_what_exists() -> None:
    night(1)
    with pytest.raises(UnknownNameError, match="Did you mean 'board'"):
        main.run(["farm", "history", "--device", "bord"])
    with pytest.raises(UnknownNameError, match="Known: 2026-01-01"):
        main.run(["farm", "regressions", "--run", "../../etc"])


def test_the_store_of_the_history_is_not_that_of_the_study(tmp_path: Path) -> None:
    night(1)
    history.read()
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["history", "history_store"]


# --- damage and hostile names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 2}', '{"schema": 99}'])
def test_a_damaged_record_is_named_left_out_counted_and_ends_with_1(
    damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    night(1)
    run = night(2)
    path = next(iter((engines.HISTORY / run).rglob(kinds.RECORD_FILE)))
    path.write_text(damage)
    for verb in ("history", "regressions"):
        assert main.run(["farm", verb]) == 1
        told = capsys.readouterr()
        assert str(path) in told.err
        assert "Skipped 1 damaged record(s)" in told.err
    assert found(run) == [], "its other process was measured"


def test_latencies_that_were_tampered_with_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    run = night(1)
    path = next(iter((engines.HISTORY / run).rglob("latencies.npz")))
    path.write_bytes(path.read_bytes() + b"\0")
    assert main.run(["farm", "history"]) == 1
    assert f"{path} is missing or damaged" in capsys.readouterr().err


HOSTILE = "../../x\n| <b>\x1b[2J; rm -rf ~ '"


def test_hostile_names_stay_in_their_line_and_below_the_alarms(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in (1, 2):
        root = engines.HISTORY / f"2026-01-0{number}"
        directory = record_trees.write(root, call_ns=[1000] * 70, session_id=str(number))
        content = json.loads((directory / kinds.RECORD_FILE).read_text())
        name = HOSTILE if number == 1 else "fine"
        at = f"2026-01-0{number}T00:00:00+00:00"
        record_files.write(directory, {**content, "device": name, "model": name, "measured_at": at})
    assert main.run(["farm", "history"]) == 0
    shown = capsys.readouterr().out
    assert "<b>" not in shown
    assert "\x1b" not in shown
    assert main.run(["farm", "regressions"]) == 1
    assert capsys.readouterr().out.count("\n") == 2
    written = list(tmp_path.rglob(alarms.ALARM_FILE))
    assert len(written) == 1
    assert written[0].resolve().is_relative_to((tmp_path / alarms.ALARMS).resolve())
    assert HOSTILE in json.loads(written[0].read_text())["subject"]


# --- missing, and changed ------------------------------------------------------------------------------------------


def found(run: str | None = None, measure: ab_test.ABTestRunner = never) -> list[Alarm]:
    return list(regression_check.check(run, measure=measure).alarms)


def test_a_cell_without_a_record_tonight_or_with_refused_ones_alone_is_missing() -> None:
    night(1, cells=("m", "n", "o"))
    night(2, cells=("o",))
    night(2, cells=("n",), verdict="error")
    told = {alarm.subject: alarm.message for alarm in found()}
    assert told == {
        CELL: "no record (measured last on 2026-01-01)",
        CELL.replace("/m/", "/n/"): "refused: refused 2 (measured last on 2026-01-01)",
    }


def test_what_the_run_was_not_to_measure_is_not_missing(digits_study: Params) -> None:
    night(1, cells=("m", "n"))
    run = night(2, cells=("m",))
    assert [alarm.subject for alarm in found()] == [CELL.replace("/m/", "/n/")]
    params_of(digits_study, run)
    assert found() == []


def test_a_cell_that_is_asked_for_stays_missing_until_it_is_back(digits_study: Params) -> None:
    night(1)
    for number in (2, 3):
        params_of(digits_study, night(number, cells=("n",)))
    assert [(alarm.kind, alarm.message) for alarm in found()] == [("missing", "no record (measured last on 2026-01-01)")]
    params_of(digits_study, night(4))
    assert found() == []


def test_a_night_on_which_nothing_was_measured_at_all_is_a_night(digits_study: Params) -> None:
    night(1)
    params_of(digits_study, "2099-01-01")
    journal.Journal(engines.FARM / "2099-01-01" / engines.JOURNAL).add("started", "board_matrix", "board", 1)
    assert [(alarm.run, alarm.kind, alarm.subject) for alarm in found()] == [("2099-01-01", "missing", CELL)]


def test_another_fingerprint_is_told_from_what_to_what_and_begins_a_new_series() -> None:
    nights(16)
    run = night(17, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
    (alarm,) = found()
    assert (alarm.kind, alarm.subject, alarm.run) == ("fingerprint", "board", run)
    assert "cpu: A Processor → Another Processor" in alarm.message
    assert "kernel: absent → 7.0" in alarm.message
    assert f"most moved {CELL}, 2" in alarm.message
    told = history.read()
    (cell,) = told.cells
    assert [len(segment) for segment in told.split_segments(cell)] == [16, 1]
    for number in (18, 19, 20, 21):
        night(number, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
        assert found() == []


def test_another_version_of_the_engine_begins_a_new_series_and_is_said() -> None:
    night(1)
    night(2, result={"versions": {"matrix": "2.0"}})
    (alarm,) = found()
    assert "versions.matrix: 1.0 → 2.0" in alarm.message


def test_an_older_night_is_checked_by_what_was_known_then() -> None:
    night(1)
    night(2, result={"fingerprint": {"cpu": "Another Processor"}})
    night(3)
    assert found("2026-01-01") == []
    assert [alarm.run for alarm in found("2026-01-02")] == ["2026-01-02"]


# --- steps and their A/B -------------------------------------------------------------------------------------------


def params_of(digits_study: Params, run: str, *, task: str = "digits", **changes: Any) -> None:
    """Write what a run was to measure: one artifact on the board."""
    item = {**ITEM, "device": "board", "artifacts": {"m": ["fp32"]}, "final": {}, "seeds": [4], "all": ITEM["every"]}
    bench = {"board_matrix": BenchParams.model_validate({**item, **changes})}
    of = digits_study.task.model_copy(update={"name": task})
    params = digits_study.model_copy(update={"study": "study", "task": of, "bench": bench})
    params_file.write_params(params, "test", engines.FARM / run / engines.PARAMS)


def keep(content: str) -> str:
    """Keep an artifact; returns its sha256."""
    place = Path("built") / content
    place.mkdir(parents=True)
    (place / "model").write_text(content)
    directories.write_meta(place, {"scheme": "fp32"})
    artifact_cache.store_artifact(place, "fp32")
    return directories.content_sha256(directories.read_meta(place))


def plays(ratio: float, spread: float = 0.002, rounds: int = ab_test.ROUNDS) -> Callable[[ABTestSetup, Path], None]:
    """An A/B whose suspect takes so much longer."""

    def measure(pair: ABTestSetup, out: Path) -> None:
        assert pair.session == "board_matrix"
        rng = np.random.default_rng(5)
        for name in (GOOD, SUSPECT):
            assert (pair.artifacts / name / "fp32" / "model").read_text() == name
        for process in range(rounds):
            record_trees.in_turns(
                out, math.log(ratio) + rng.normal(0, spread), process, runtime="matrix", model=SUSPECT
            )

    return measure


@pytest.fixture
def suspicious(digits_study: Params, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(compose, "read_default_study", lambda: "study")
    for number in range(1, 17):
        night(
            number, sha=keep(GOOD) if number == 1 else directories.content_sha256(directories.read_meta(Path("built/good")))
        )
    sha = keep(SUSPECT)
    for number in range(17, 22):
        run = night(number, 106, sha=sha)
        told = history.read()
        (cell,) = told.cells
        if told.find_changes(cell, told.split_segments(cell)[-1]).changes:
            params_of(digits_study, run)
            return run
    raise AssertionError("no step is seen")


def test_a_step_that_an_a_b_bears_out_is_a_regression_and_its_records_are_kept(suspicious: str) -> None:
    (alarm,) = found(measure=plays(1.06))
    assert alarm.kind == "regression"
    assert "6." in alarm.message
    assert "since 2026-01-17" in alarm.message
    assert "10 rounds: 1.06" in alarm.message
    assert alarm.details["comparison"]["verdict"] == "slower"
    assert alarm.details["comparison"]["paired"]
    (place,) = (alarms.ALARMS / suspicious).iterdir()
    assert len(list(record_files.read_all(place / alarms.RECORDS_DIRECTORY))) == 10
    content = json.loads((place / alarms.ALARM_FILE).read_text())
    assert content["told"] == alarm.message
    assert found(measure=never) == [alarm], "what is known is not measured again"
    assert not regression_check.check(None, measure=never).is_clean


def test_a_step_that_an_a_b_does_not_bear_out_is_no_regression_and_wakes_nobody(suspicious: str) -> None:
    checked = regression_check.check(None, measure=plays(1.0))
    (alarm,) = checked.alarms
    assert alarm.kind == "not confirmed"
    assert "not shown to be slower by more than 2%" in alarm.message
    assert checked.is_clean
    assert "1 not confirmed" in checked.summary


def test_what_could_not_be_confirmed_says_why_and_is_tried_again(suspicious: str) -> None:
    quarantine.add("board", "smoke")
    (alarm,) = found(measure=never)
    assert alarm.kind == "unconfirmed"
    assert "could not be confirmed: device 'board' is in quarantine" in alarm.message
    assert found(measure=never) == [alarm]
    quarantine.release("board")
    with leases.hold("board", "another"):
        assert "is taken by process" in found(measure=never)[0].message
    assert found(measure=plays(1.06))[0].kind == "regression"
    assert len(list((alarms.ALARMS / suspicious).iterdir())) == 3, "each try stays"
    assert found(measure=never)[0].kind == "regression"


def test_too_few_valid_rounds_confirm_nothing(suspicious: str) -> None:
    (alarm,) = found(measure=plays(1.06, rounds=2))
    assert "of 10 rounds only 2 were valid" in alarm.message


def test_a_last_good_artifact_that_is_gone_or_damaged_is_said(suspicious: str) -> None:
    good = artifact_cache.find(directories.content_sha256(directories.read_meta(Path("built/good"))), "fp32")
    (good / "model").write_text("tampered")
    assert "is damaged" in found(measure=never)[0].message
    for path in good.iterdir():
        path.unlink()
    good.rmdir()
    assert "is no longer kept" in found(measure=never)[0].message


def test_a_step_of_the_same_bytes_is_one_of_conditions_and_no_a_b_is_made() -> None:
    run = stepping(sha=OLD)
    (alarm,) = found(measure=never)
    assert (alarm.kind, alarm.run) == ("conditions", run)
    assert (
        "with the same bytes (aaaaaaaaaaaa…): no A/B can show it. Changed: nothing else that is recorded" in alarm.message
    )
    assert found(measure=never) == [alarm]


def test_a_step_without_the_runs_parameters_could_not_be_confirmed() -> None:
    stepping()
    (alarm,) = found(measure=never)
    assert alarm.kind == "unconfirmed"
    assert "params.yaml is missing" in alarm.message


def test_a_step_to_faster_is_told_and_wakes_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    stepping(0.9)
    assert main.run(["farm", "regressions"]) == 0
    assert f"faster: {CELL}: 10." in capsys.readouterr().out


def test_the_night_after_says_nothing_of_a_step_seen_the_night_before(capsys: pytest.CaptureFixture[str]) -> None:
    run = stepping(sha=OLD)
    night(int(run[-2:]) + 1, 106, sha=OLD)
    assert found(measure=never) == []
    main.run(["farm", "history"])
    text = capsys.readouterr().out
    assert f"from here (seen on {run})" in next(line for line in text.splitlines() if line.startswith("| 2026-01-17"))


def test_an_alarm_that_cannot_be_read_is_found_anew(suspicious: str) -> None:
    found(measure=plays(1.06))
    (path,) = (alarms.ALARMS / suspicious).rglob(alarms.ALARM_FILE)
    for damage in ("{", '{"schema": 1, "kind": "peace"}', "[]"):
        path.write_text(damage)
        assert found(measure=plays(1.06))[0].kind == "regression"


def test_other_bytes_shortly_before_the_step_are_what_is_compared_not_those_of_the_very_night_before() -> None:
    def of(number: int, sha: str) -> history.NightResult:
        return history.NightResult(str(number), [], 1, [], sha, {}, None, None, None)

    segment = [of(number, OLD) for number in range(16)] + [of(number, NEW) for number in range(16, 20)]
    assert regression_check._find_last_good(segment, 17).run == "15"
    assert regression_check._find_last_good(segment, 15).run == "14"
    assert regression_check._find_last_good(segment[:3] + segment[16:] * 3, 12).artifact == NEW


def test_an_a_b_that_fails_leaves_the_suspicion_unconfirmed(plugin_root: Path, tmp_path: Path, suspicious: str) -> None:
    write_project(tmp_path)  # whose data is of another task
    (alarm,) = regression_check.check(None).alarms
    assert alarm.kind == "unconfirmed"
    assert "the A/B failed: data/digits/test has no meta.json" in alarm.message


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
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith(f"check of 2026-01-02: {'1 missing' if missing else 'nothing to'}")
    assert "not cached: nothing/artifacts" in told.err


def test_a_run_that_cannot_be_checked_says_so_and_ends_with_1(
    digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dispatcher, "prepare", lambda *_: (digits_study, Path()))
    monkeypatch.setattr(dispatcher, "run_study", lambda *_: {"board_matrix": "done"})
    assert main.run(["farm", "run", "--name", "tonight"]) == 1
    assert "the night could not be checked: results/history holds no night" in capsys.readouterr().err


# --- what is kept --------------------------------------------------------------------------------------------------


def test_only_the_artifacts_of_a_cells_latest_nights_stay() -> None:
    shas = [keep(f"model {number}") for number in range(artifact_cache.KEPT_NIGHTS + 2)]
    for number, sha in enumerate(shas, 1):
        night(number, sha=sha)
    for path in (engines.FARM / "artifacts").iterdir():
        os.utime(path, (0, 0))
    fresh = keep("being measured now")
    found(measure=never)
    assert artifact_cache.find(fresh, "fp32").is_dir()
    for sha in shas[2:]:
        assert artifact_cache.find(sha, "fp32").is_dir()
    for sha in shas[:2]:
        with pytest.raises(ArtifactError, match="no longer kept"):
            artifact_cache.find(sha, "fp32")


@pytest.mark.parametrize("sha", ["../../../etc", "..", "", "/etc/passwd"])
def test_a_hostile_identity_is_kept_nowhere(sha: str) -> None:
    with pytest.raises(ArtifactError, match="no longer kept"):
        artifact_cache.find(sha, "fp32")
