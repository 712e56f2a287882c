"""Damaged files of the farm: journals, leases, quarantine and alarms. No content of them gives a traceback."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli import main
from edgeproof.farm import alarms, engines, journal, leases, quarantine
from edgeproof.farm.alarm_details import ArtifactNight, FingerprintDetails, MissingDetails, SlowdownDetails
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.dispatcher import FarmRun
from edgeproof.farm.engines import JobExit
from edgeproof.farm.journal import Journal, JournalEvent
from edgeproof.statistics.comparison import compare_logs
from tests.support.damaged_json import HUGE, damage
from tests.support.farm_nights import write_night

EVENT = JournalEvent("failed", "pi_onnx", "pi", 1, "2026-01-01T00:00:00+00:00", "the link was lost")
GOOD_LINE = json.dumps(EVENT.to_json()).encode() + b"\n"
ENTRY = {"device": "pi", "reason": "smoke", "since": "2026-01-01T00:00:00+00:00"}
SLOWDOWN = SlowdownDetails(
    1.06, "2026-01-01", ArtifactNight("2026-01-01", "a" * 64), ArtifactNight("2026-01-02", "b" * 64), ["commit: a → b"],
    compare_logs([0.0] * 10, [0.05 + 0.001 * n for n in range(10)], paired=True),
)  # fmt: skip
ALARMS = (
    Alarm("missing", "2026-01-02", "cell", "no record", MissingDetails("2026-01-01")),
    Alarm("fingerprint", "2026-01-02", "board", "cpu: a → b", FingerprintDetails(["cpu: a → b"], {"cell": 1.5})),
    Alarm("regression", "2026-01-02", "cell", "6.0% slower", SLOWDOWN),
)


def write_journal(content: bytes, run: str = "night") -> Path:
    path = engines.FARM / run / engines.JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def assert_types(event: JournalEvent) -> None:
    assert all(isinstance(text, str) for text in (event.job, event.device, event.at, event.reason))
    assert isinstance(event.attempt, int)
    str(event).encode()


# --- journals ------------------------------------------------------------------------------------------------------


@given(damage(EVENT.to_json()).filter(lambda line: b"\n" not in line))
def test_a_damaged_line_is_skipped_and_named_and_the_others_are_read(line: bytes) -> None:
    path = write_journal(GOOD_LINE + line + b"\n" + GOOD_LINE)
    damaged: list[str] = []
    events = journal.read(path, damaged)
    assert (events[0], events[-1]) == (EVENT, EVENT)
    assert len(events) == 2 + (not damaged)
    assert damaged in ([], [f"{path} has 1 damaged line(s), the first is line 2"])
    for event in events:
        assert_types(event)


@given(st.lists(damage(EVENT.to_json()), max_size=3))
def test_status_names_damaged_journals_and_exits_with_0_or_1(lines: list[bytes]) -> None:
    path = write_journal(b"\n".join([*lines, b""]))
    damaged: list[str] = []
    journal.read(path, damaged)
    assert main.run(["farm", "status"]) in ((1,) if damaged else (0, 1))


def test_a_run_with_a_damaged_journal_continues_and_names_it() -> None:
    path = write_journal(GOOD_LINE * 2 + b"\x00\xff\n" + GOOD_LINE)
    lines: list[str] = []

    def run_job(job: str, reason: str | None) -> JobExit:
        (engines.HISTORY / "night" / job).mkdir(parents=True)
        return JobExit(0, "")

    run = FarmRun("night", {"pi_onnx": "pi"}, run_job, report=lines.append)
    assert run.run() == {"pi_onnx": "done"}
    assert lines[0] == f"skipped: {path} has 1 damaged line(s), the first is line 3"
    assert [event.attempt for event in journal.read(path)] == [1, 1, 1, 4, 4]  # three failures were read


def test_the_check_names_a_damaged_journal_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    write_night(1)
    assert main.run(["farm", "regressions"]) == 0
    path = write_journal(b"[\n", "other")
    assert main.run(["farm", "regressions"]) == 1
    assert f"skipped: {path} has 1 damaged line(s)" in capsys.readouterr().err
    assert main.run(["farm", "history"]) == 1


def test_a_large_journal_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(GOOD_LINE + b"x" * 50_000_000 + b"\n" + GOOD_LINE + b"y" * 10_000_000)
    damaged: list[str] = []
    assert journal.read(path, damaged) == [EVENT, EVENT]
    assert damaged == [f"{path} has 1 damaged line(s), the first is line 2"]


def test_every_event_that_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for reason in ("", "ä → b", "a\nb\x1b[2J\u2028", "x" * 10_000, "\ud800"):
        Journal(path).append("failed", "job", "pi", 1, reason)
    damaged: list[str] = []
    assert len(journal.read(path, damaged)) == 5
    assert damaged == []


# --- leases and quarantine -----------------------------------------------------------------------------------------


def _hold(directory: str, ready: Any) -> None:
    os.chdir(directory)
    with leases.hold("pi", "farm run tonight"):
        ready.set()
        time.sleep(120)


def test_a_damaged_lease_that_is_held_names_no_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready))
    process.start()
    try:
        assert ready.wait(60)
        for content in (*HUGE, b"", b"{}", b"5", b'{"pid": 1, "host": "\\ud800", "since": "", "why": ""}'):
            (leases.LEASES / "pi").write_bytes(content)
            assert leases.describe_holder("pi") == leases.UNKNOWN_HOLDER
            with pytest.raises(leases.DeviceBusyError, match="in use by another process"), leases.hold("pi", "x"):
                pass
    finally:
        process.kill()
        process.join()
    with leases.hold("pi", "x"):  # damage does not outlive its holder
        assert f"process {os.getpid()} on " in (leases.describe_holder("pi") or "")


@given(damage(ENTRY))
def test_a_damaged_entry_keeps_the_device_in_quarantine_until_its_release(content: bytes) -> None:
    quarantine.QUARANTINE.mkdir(parents=True, exist_ok=True)
    (quarantine.QUARANTINE / "pi.json").write_bytes(content)
    write_journal(GOOD_LINE)
    line = quarantine.describe("pi")
    assert "edgeproof farm release" in line
    assert main.run(["farm", "status"]) == 1
    assert main.run(["farm", "release", "pi"]) == 0
    assert quarantine.find("pi") is None


def test_a_damaged_entry_lets_no_job_run() -> None:
    quarantine.add("pi", "smoke")
    (quarantine.QUARANTINE / "pi.json").write_text("{")
    lines: list[str] = []
    run = FarmRun("night", {"pi_onnx": "pi"}, lambda job, reason: JobExit(0, ""), report=lines.append)
    assert run.run() == {"pi_onnx": "not run"}
    assert any("edgeproof farm release pi" in line for line in lines)


# --- alarms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.kind)
def test_an_intact_alarm_is_not_damaged(alarm: Alarm) -> None:
    alarms.write(alarm)
    assert alarms.list_damaged(alarm.run) == []
    assert alarms.read_by_run() == {alarm.run: [alarm]}


@given(st.data())
@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.kind)
def test_a_damaged_alarm_is_skipped_and_named(alarm: Alarm, data: st.DataObject) -> None:
    content = alarm.to_json()
    if data.draw(st.booleans()):
        damaged = data.draw(damage(content))
    else:
        details = data.draw(damage(content["details"]).filter(is_json))
        damaged = json.dumps({**content, "details": json.loads(details)}).encode()
    alarms.write(alarm)
    (path,) = alarms.ALARMS.rglob(alarms.ALARM_FILE)
    path.write_bytes(damaged)
    try:
        readable = [alarm for night in alarms.read_by_run().values() for alarm in night]
        lines = alarms.list_damaged(alarm.run)
        assert len(readable) + len(lines) == 1
        for other in readable:
            assert isinstance(other.details, MissingDetails | FingerprintDetails | SlowdownDetails | None)
            json.dumps(other.to_json())
            str(other).encode()
    finally:
        path.unlink()
        path.parent.rmdir()


def is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def test_the_check_names_a_damaged_alarm_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    write_night(1)
    alarms.write(Alarm("missing", "2026-01-01", "cell", "no record"))
    (path,) = alarms.ALARMS.rglob(alarms.ALARM_FILE)
    path.write_text("{")
    assert main.run(["farm", "regressions"]) == 1
    assert f"skipped: {path} is damaged. Remove it: rm -r {path.parent}" in capsys.readouterr().err
