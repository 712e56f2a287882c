"""Tests of alarms about missing cells and changed devices."""

from __future__ import annotations

from edgeproof.config.params import Params
from edgeproof.farm import (
    engines,
    journal,
)
from edgeproof.farm.history_reader import read_history
from tests.support.farm_nights import (
    CELL,
    check,
    write_night,
    write_nights,
)
from tests.support.farm_runs import write_params


def test_a_cell_without_a_record_or_with_refused_runs_only_is_missing() -> None:
    write_night(1, cells=("m", "n", "o"))
    write_night(2, cells=("o",))
    write_night(2, cells=("n",), verdict="error")
    assert {alarm.subject: alarm.message for alarm in check()} == {
        CELL: "no record (last measured on 2026-01-01)",
        CELL.replace("/m/", "/n/"): "refused: refused 2 (last measured on 2026-01-01)",
    }


def test_a_cell_that_was_not_requested_is_not_missing(digits_study: Params) -> None:
    write_night(1, cells=("m", "n"))
    run = write_night(2, cells=("m",))
    assert [alarm.subject for alarm in check()] == [CELL.replace("/m/", "/n/")]
    write_params(digits_study, run)
    assert check() == []


def test_a_requested_cell_stays_missing_until_it_is_measured_again(digits_study: Params) -> None:
    write_night(1)
    for number in (2, 3):
        write_params(digits_study, write_night(number, cells=("n",)))
    assert [(alarm.kind, alarm.message) for alarm in check()] == [
        ("missing", "no record (last measured on 2026-01-01)")
    ]
    write_params(digits_study, write_night(4))
    assert check() == []


def test_a_night_without_any_record_is_checked(digits_study: Params) -> None:
    write_night(1)
    write_params(digits_study, "2099-01-01")
    journal.Journal(engines.FARM / "2099-01-01" / engines.JOURNAL).append("started", "board_matrix", "board", 1)
    assert [(alarm.run, alarm.kind, alarm.subject) for alarm in check()] == [("2099-01-01", "missing", CELL)]


def test_a_changed_fingerprint_is_reported_and_starts_a_new_series() -> None:
    write_nights(16)
    run = write_night(17, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
    (alarm,) = check()
    assert (alarm.kind, alarm.subject, alarm.run) == ("fingerprint", "board", run)
    assert "cpu: A Processor → Another Processor" in alarm.message
    assert "kernel: absent → 7.0" in alarm.message
    assert f"{CELL} moved most, 2" in alarm.message
    nights = read_history()
    (cell,) = nights.cells
    assert [len(segment) for segment in nights.split_segments(cell)] == [16, 1]
    for number in (18, 19, 20, 21):
        write_night(number, 120, result={"fingerprint": {"cpu": "Another Processor", "kernel": "7.0"}})
        assert check() == []


def test_a_changed_runtime_version_is_reported() -> None:
    write_night(1)
    write_night(2, result={"versions": {"matrix": "2.0"}})
    (alarm,) = check()
    assert "packages.matrix: 1.0 → 2.0" in alarm.message


def test_an_older_night_is_judged_by_the_nights_up_to_it() -> None:
    write_night(1)
    write_night(2, result={"fingerprint": {"cpu": "Another Processor"}})
    write_night(3)
    assert check("2026-01-01") == []
    assert [alarm.run for alarm in check("2026-01-02")] == ["2026-01-02"]
