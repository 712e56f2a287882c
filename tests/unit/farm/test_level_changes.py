"""Tests of level changes and their A/B tests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.config import compose
from edgeproof.config.params import Params
from edgeproof.core import directories
from edgeproof.farm import (
    ab_test,
    alarms,
    artifact_cache,
    history,
    leases,
    level_changes,
    quarantine,
    regression_check,
)
from edgeproof.farm.ab_test import GOOD, SUSPECT, ABTestSetup
from edgeproof.farm.history_reader import read_history
from edgeproof.records import record_files
from tests.support import record_trees
from tests.support.bench_project import write_project
from tests.support.farm_nights import (
    CELL,
    NEW,
    OLD,
    cache_artifact,
    check,
    fail_if_called,
    write_night,
    write_step,
)
from tests.support.farm_runs import write_params


def simulate(ratio: float, spread: float = 0.002, rounds: int = ab_test.ROUNDS) -> Callable[[ABTestSetup, Path], None]:
    """Return a simulated A/B test in which the suspect takes `ratio` times as long."""

    def run(setup: ABTestSetup, out: Path) -> None:
        assert setup.session == "board_matrix"
        rng = np.random.default_rng(5)
        for name in (GOOD, SUSPECT):
            assert (setup.artifacts / name / "fp32" / "model").read_text() == name
        for process in range(rounds):
            record_trees.write_interleaved(
                out, math.log(ratio) + rng.normal(0, spread), process, runtime="matrix", model=SUSPECT
            )

    return run


@pytest.fixture
def suspicious(digits_study: Params, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(compose, "read_default_study", lambda: "study")
    for number in range(1, 17):
        write_night(
            number,
            sha=cache_artifact(GOOD)
            if number == 1
            else directories.content_sha256(directories.read_meta(Path("built/good"))),
        )
    sha = cache_artifact(SUSPECT)
    for number in range(17, 22):
        run = write_night(number, 106, sha=sha)
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
    write_night(int(run[-2:]) + 1, 106, sha=OLD)
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
