"""The farm's core: devices side by side, jobs one after another, and nothing finished lost or run twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.farm import dispatcher, engines, journal, leases, quarantine
from edgeproof.farm.dispatcher import FarmRun
from edgeproof.farm.engines import JobExit
from edgeproof.study import repro
from tests.unit.bench.test_session import write_project

DONE, AGAIN, WRONG = JobExit(0, ""), JobExit(75, "the link was lost"), JobExit(2, "no artifact")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, even where whoever started the tests ignores it, as a shell does in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Board:
    """Jobs that end as they are told, one answer a start; without answers they are done."""

    def __init__(self, **answers: list[JobExit]) -> None:
        self.answers = answers
        self.started: list[str] = []
        self.abandoned: dict[str, str] = {}
        self.busy: Counter[str] = Counter()
        self.together = 0
        self.pauses: list[float] = []

    def start(self, job: str, reason: str | None) -> JobExit:
        device = job.split("_")[0]
        if reason is not None:
            self.abandoned[job] = reason
            (engines.HISTORY / "night" / job).mkdir(parents=True)
            return DONE
        self.busy[device] += 1
        assert self.busy[device] == 1, "two jobs on one device"
        self.together = max(self.cells_per_device, sum(self.busy.values()))
        self.started.append(job)
        time.sleep(0.01)
        self.busy[device] -= 1
        answer = self.answers[job].pop(0) if self.answers.get(job) else DONE
        if answer is DONE:
            (engines.HISTORY / "night" / job).mkdir(parents=True)
        return answer

    def run(self, *jobs: str) -> dict[str, str]:
        devices = {job: job.split("_")[0] for job in jobs}
        return FarmRun("night", devices, self.start, report=lambda line: None, pause=self.pauses.append).run()


JOBS = [f"{device}_{runtime}" for device in ("a", "b", "c") for runtime in ("onnx", "tflite")]


# --- the order of things -------------------------------------------------------------------------------------------


def test_every_job_runs_once_devices_side_by_side_and_one_job_a_device() -> None:
    board = Board()
    assert board.run(*JOBS) == dict.fromkeys(JOBS, "done")
    assert Counter(board.started) == Counter(JOBS)
    assert board.together > 1
    for device in "abc":
        assert [job for job in board.started if job[0] == device] == [f"{device}_onnx", f"{device}_tflite"]


def test_what_is_finished_is_not_run_again() -> None:
    Board().run(*JOBS[:3])
    board = Board()
    assert board.run(*JOBS) == dict.fromkeys(JOBS, "done")
    assert sorted(board.started) == sorted(JOBS[3:])


def test_what_is_transient_is_tried_again_after_growing_pauses() -> None:
    board = Board(a_onnx=[AGAIN, AGAIN, AGAIN])
    assert board.run("a_onnx")["a_onnx"] == "done"
    assert len(board.started) == 4
    assert board.pauses == [30.0, 60.0, 120.0]
    assert quarantine.list_devices() == []


def test_a_device_that_keeps_failing_is_left_alone_and_its_jobs_end_with_the_reason() -> None:
    board = Board(a_onnx=[AGAIN] * 9)
    outcomes = board.run(*JOBS)
    assert {job: of for job, of in outcomes.items() if of != "done"} == {"a_onnx": "failed", "a_tflite": "failed"}
    assert board.started.count("a_onnx") == dispatcher.MAX_ATTEMPTS
    assert "a_tflite" not in board.started
    assert all("the link was lost" in reason for reason in board.abandoned.values())
    assert all("edgeproof farm release a" in reason for reason in board.abandoned.values())
    sentence = quarantine.find("a")
    assert sentence is not None
    assert sentence.reason == "the link was lost"


def test_a_device_in_quarantine_is_not_touched_until_it_is_released() -> None:
    quarantine.add("a", "smoke")
    board = Board()
    assert board.run("a_onnx", "b_onnx") == {"a_onnx": "failed", "b_onnx": "done"}
    assert board.started == ["b_onnx"]
    quarantine.release("a")
    board = Board()
    assert board.run("a_tflite") == {"a_tflite": "done"}
    with pytest.raises(UnknownNameError, match="farm status"):
        quarantine.release("a")


def test_a_job_that_was_abandoned_is_not_taken_for_done_by_the_next_start() -> None:
    quarantine.add("a", "smoke")
    Board().run("a_onnx")
    quarantine.release("a")
    board = Board()
    assert board.run("a_onnx") == {"a_onnx": "failed"}
    assert board.started == []


def test_what_is_wrong_with_the_study_is_neither_tried_again_nor_the_devices_fault() -> None:
    board = Board(a_onnx=[WRONG])
    assert board.run("a_onnx", "a_tflite") == {"a_onnx": "failed", "a_tflite": "done"}
    assert board.abandoned == {"a_onnx": "no artifact"}
    assert quarantine.list_devices() == []


def test_failures_are_counted_across_a_crash() -> None:
    with pytest.raises(KeyboardInterrupt):
        crashing(Board(a_onnx=[AGAIN] * 9), after=3)
    board = Board(a_onnx=[AGAIN] * 9)
    assert board.run("a_onnx") == {"a_onnx": "failed"}
    assert board.started == ["a_onnx"]  # the fourth failure of four


def crashing(board: Board, after: int) -> None:
    """Run until a job has been started so often, then as if Ctrl-C came."""
    pauses = iter(range(after))
    run = FarmRun("night", {"a_onnx": "a"}, board.start, report=lambda line: None)

    def pause(seconds: float) -> None:
        if next(pauses) == after - 1:
            os.kill(os.getpid(), signal.SIGINT)
            run.stop_requested.wait(10)

    run.pause = pause
    run.run()


def test_an_interrupted_run_ends_what_runs_and_leaves_the_rest() -> None:
    released, ended = threading.Event(), []

    def start(job: str, reason: str | None) -> JobExit:
        os.kill(os.getpid(), signal.SIGINT)
        released.wait(10)
        return JobExit(-15, "")

    def end() -> None:
        ended.append(True)
        released.set()

    with pytest.raises(KeyboardInterrupt):
        FarmRun("night", {"a_onnx": "a", "a_tflite": "a"}, start, end, report=lambda line: None).run()
    assert ended == [True]
    last = journal.latest_by_job(journal.read(engines.FARM / "night" / engines.JOURNAL))
    assert {job: event.kind for job, event in last.items()} == {"a_onnx": "started"}


def test_a_run_interrupted_while_it_starts_its_devices_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    released, running, ended = threading.Event(), threading.Event(), []
    begin = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        begin(thread)
        assert running.wait(10)
        raise KeyboardInterrupt

    def start(job: str, reason: str | None) -> JobExit:
        running.set()
        released.wait(10)
        return JobExit(-15, "")

    def end() -> None:
        ended.append(True)
        released.set()

    run = FarmRun("night", {"a_onnx": "a", "b_onnx": "b"}, start, end, report=lambda line: None)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert ended == [True]
    last = journal.latest_by_job(journal.read(engines.FARM / "night" / engines.JOURNAL))
    assert {job: event.kind for job, event in last.items()} == {"a_onnx": "started"}


# --- leases, journal -----------------------------------------------------------------------------------------------


def _hold(directory: str, ready: Any) -> None:
    os.chdir(directory)
    with leases.hold("pi", "farm run tonight"):
        ready.set()
        time.sleep(60)


def test_a_lease_names_its_holder_and_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    told = leases.describe_holder("pi")
    assert told is not None
    assert f"process {process.pid} on " in told
    assert "(farm run tonight)" in told
    with pytest.raises(leases.DeviceBusyError, match=f"taken by process {process.pid}"), leases.hold("pi", "another"):
        pass
    process.kill()
    process.join()
    assert leases.describe_holder("pi") is None
    with leases.hold("pi", "another"):
        assert leases.describe_holder("pi") is not None


def test_a_device_that_another_has_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    board = Board()
    with leases.hold("a", "by hand"):
        run = FarmRun("night", {"a_onnx": "a", "b_onnx": "b"}, board.start, report=lines.append)
        assert run.run() == {"a_onnx": "left", "b_onnx": "done"}
    assert any("device 'a' is taken by process" in line for line in lines)


def test_a_journal_survives_a_torn_last_line_and_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.Journal(path).add("failed", "job", "pi", 1, "why")
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        again = journal.Journal(path)
        again.add("done", "job", "pi", 2)
        assert [event.kind for event in journal.read(path)] == ["failed", "done"]
    path.write_text("hello\n")
    with pytest.raises(EdgeproofError, match="is damaged"):
        journal.read(path)


def test_failures_are_counted_since_the_job_last_ended() -> None:
    def event(kind: Any, job: str = "x") -> journal.JournalEvent:
        return journal.JournalEvent(kind, job, "pi", 1, "now")

    kinds = ["started", "failed", "failed", "done", "failed", "started"]
    assert journal.count_failures(map(event, kinds))["x"] == 1
    assert journal.count_failures([event("failed"), event("failed", "y"), event("abandoned")]) == {"x": 0, "y": 1}


def test_an_engine_that_does_not_exist_or_has_no_address_is_refused(digits_study: Params) -> None:
    with pytest.raises(UnknownNameError, match="local, ray"):
        engines.start_engine("slurm", "night", Path(), digits_study, None)
    with pytest.raises(ConfigError, match="has no address"):
        engines.start_engine("local", "night", Path(), digits_study, "10.0.0.1:6379")


# --- the command line ----------------------------------------------------------------------------------------------


def test_status_tells_jobs_holders_and_quarantine(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="there is no run"):
        main.run(["farm", "status"])
    Board(a_onnx=[AGAIN] * 9).run("a_onnx", "b_onnx")
    with leases.hold("b", "farm run night"):
        assert main.run(["farm", "status"]) == 1
    text = capsys.readouterr().out
    assert "b_onnx: done" in text
    assert "a_onnx: abandoned: device 'a' is in quarantine" in text
    assert f"b is in use by process {os.getpid()}" in text
    assert text.splitlines()[-1] == "run night: 1 abandoned, 1 done"
    assert main.run(["farm", "release", "a"]) == 0
    assert quarantine.list_devices() == []


def test_a_job_whose_farm_is_gone_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    journal.Journal(engines.FARM / "night" / engines.JOURNAL).add("started", "a_onnx", "a", 1)
    assert main.run(["farm", "status", "--name", "night"]) == 1
    assert "a_onnx: interrupted" in capsys.readouterr().out


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--name", "../night"], "is not a valid run name"),
        (["--devices", "tag:arm"], "no device has the tag 'arm'"),
        (["--devices", "dsk"], "Did you mean 'desk'?"),
    ],
)
def test_a_wrong_command_is_refused_by_what_it_says(project: Path, argv: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        main.run(["farm", "run", *argv])
    assert told in str(caught.value)


def test_devices_are_chosen_by_name_and_tag_each_once(project: Path) -> None:
    from edgeproof.cli import farm

    (project / "devices" / "pi.yaml").write_text(json.dumps({"transport": "fake", "threads": 1, "tags": ["arm"]}))
    assert farm._expand_tags(["tag:arm", "desk", "pi"]) == ["pi", "desk"]


def test_a_run_is_the_study_on_the_chosen_devices_and_keeps_its_parameters(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "FARM", tmp_path / "farm")
    monkeypatch.setattr(repro, "WORKTREES", tmp_path / "studies")
    with pytest.raises(ConfigError, match="Run 'edgeproof repro digits' first"):
        dispatcher.prepare("digits", None, "2026-01-02")
    (tmp_path / "studies" / "digits" / "artifacts").mkdir(parents=True)
    params, built = dispatcher.prepare("digits", ["local", "smart_camera"], "2026-01-02")
    assert {item.device for item in params.bench.values()} == {"local", "smart_camera"}
    assert {item.session for item in params.bench.values()} == {20260102}
    assert (built / "devices" / "smart_camera.yaml").is_file()
    assert dispatcher.prepare("digits", ["local", "smart_camera"], "2026-01-02")[0] == params
    with pytest.raises(ConfigError, match="begun with other parameters"):
        dispatcher.prepare("digits", ["local"], "2026-01-02")
