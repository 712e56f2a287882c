"""Tests of the dispatcher: devices in parallel, jobs one after another, and no finished job lost or run twice."""

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
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.farm import device_choice, dispatcher, engines, journal, leases, quarantine, run_params
from edgeproof.farm.dispatcher import FarmRun
from edgeproof.farm.engines import JobExit
from edgeproof.study import repro
from tests.support.bench_project import write_project

DONE, AGAIN, WRONG = JobExit(0, ""), JobExit(75, "the link was lost"), JobExit(2, "no artifact")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Handle Ctrl-C, which a shell ignores for processes in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Board:
    """Simulates jobs: each attempt ends with the job's next answer, or is done without one."""

    def __init__(self, **answers: list[JobExit]) -> None:
        self.answers = answers
        self.started: list[str] = []
        self.abandoned: dict[str, str] = {}
        self.busy: Counter[str] = Counter()
        self.max_parallel = 0
        self.pauses: list[float] = []

    def run_job(self, job: str, reason: str | None) -> JobExit:
        device = job.split("_")[0]
        if reason is not None:
            self.abandoned[job] = reason
            (engines.HISTORY / "night" / job).mkdir(parents=True)
            return DONE
        self.busy[device] += 1
        assert self.busy[device] == 1, "two jobs on one device"
        self.max_parallel = max(self.max_parallel, sum(self.busy.values()))
        self.started.append(job)
        time.sleep(0.01)
        self.busy[device] -= 1
        answer = self.answers[job].pop(0) if self.answers.get(job) else DONE
        if answer is DONE:
            (engines.HISTORY / "night" / job).mkdir(parents=True)
        return answer

    def run(self, *jobs: str) -> dict[str, str]:
        devices = {job: job.split("_")[0] for job in jobs}
        return FarmRun("night", devices, self.run_job, report=lambda line: None, pause=self.pauses.append).run()


JOBS = [f"{device}_{runtime}" for device in ("a", "b", "c") for runtime in ("onnx", "tflite")]


# --- the order of things -------------------------------------------------------------------------------------------


def test_every_job_runs_once_with_devices_in_parallel_and_one_job_per_device() -> None:
    board = Board()
    assert board.run(*JOBS) == dict.fromkeys(JOBS, "done")
    assert Counter(board.started) == Counter(JOBS)
    assert board.max_parallel > 1
    for device in "abc":
        assert [job for job in board.started if job[0] == device] == [f"{device}_onnx", f"{device}_tflite"]


def test_a_finished_job_does_not_run_again() -> None:
    Board().run(*JOBS[:3])
    board = Board()
    assert board.run(*JOBS) == dict.fromkeys(JOBS, "done")
    assert sorted(board.started) == sorted(JOBS[3:])


def test_a_transient_failure_is_retried_after_growing_pauses() -> None:
    board = Board(a_onnx=[AGAIN, AGAIN, AGAIN])
    assert board.run("a_onnx")["a_onnx"] == "done"
    assert len(board.started) == 4
    assert board.pauses == [30.0, 60.0, 120.0]
    assert quarantine.list_devices() == []


def test_a_device_that_keeps_failing_goes_into_quarantine_and_its_jobs_end_with_the_reason() -> None:
    board = Board(a_onnx=[AGAIN] * 9)
    outcomes = board.run(*JOBS)
    assert {job: outcome for job, outcome in outcomes.items() if outcome != "done"} == {
        "a_onnx": "failed",
        "a_tflite": "failed",
    }
    assert board.started.count("a_onnx") == dispatcher.MAX_ATTEMPTS
    assert "a_tflite" not in board.started
    assert all("the link was lost" in reason for reason in board.abandoned.values())
    assert all("edgeproof farm release a" in reason for reason in board.abandoned.values())
    entry = quarantine.find("a")
    assert entry is not None
    assert entry.reason == "the link was lost"


def test_a_device_in_quarantine_runs_no_job_until_it_is_released() -> None:
    quarantine.add("a", "smoke")
    board = Board()
    assert board.run("a_onnx", "b_onnx") == {"a_onnx": "failed", "b_onnx": "done"}
    assert board.started == ["b_onnx"]
    quarantine.release("a")
    board = Board()
    assert board.run("a_tflite") == {"a_tflite": "done"}
    with pytest.raises(ConfigError, match="no device is in quarantine here"):
        quarantine.release("a")


def test_an_abandoned_job_is_not_done_and_runs_again_with_the_same_command() -> None:
    quarantine.add("a", "smoke")
    assert Board().run("a_onnx") == {"a_onnx": "failed"}
    assert Board().run("a_onnx") == {"a_onnx": "failed"}
    quarantine.release("a")
    board = Board()
    assert board.run("a_onnx") == {"a_onnx": "done"}
    assert board.started == ["a_onnx"]


def test_an_error_of_the_study_is_not_retried_and_puts_no_device_into_quarantine() -> None:
    board = Board(a_onnx=[WRONG])
    assert board.run("a_onnx", "a_tflite") == {"a_onnx": "failed", "a_tflite": "done"}
    assert board.abandoned == {"a_onnx": "no artifact"}
    assert quarantine.list_devices() == []


def test_failures_are_counted_across_a_crash() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(Board(a_onnx=[AGAIN] * 9), after=3)
    board = Board(a_onnx=[AGAIN] * 9)
    assert board.run("a_onnx") == {"a_onnx": "failed"}
    assert board.started == ["a_onnx"]  # the fourth failure of four


def run_and_interrupt(board: Board, after: int) -> None:
    """Run until a job has been started `after` times, then send Ctrl-C."""
    pauses = iter(range(after))
    run = FarmRun("night", {"a_onnx": "a"}, board.run_job, report=lambda line: None)

    def pause(seconds: float) -> None:
        if next(pauses) == after - 1:
            os.kill(os.getpid(), signal.SIGINT)
            run.stop_requested.wait(10)

    run.pause = pause
    run.run()


def test_an_interrupted_run_stops_running_jobs_and_starts_no_others() -> None:
    released, stops = threading.Event(), []

    def run_job(job: str, reason: str | None) -> JobExit:
        os.kill(os.getpid(), signal.SIGINT)
        released.wait(10)
        return JobExit(-15, "")

    def stop() -> None:
        stops.append(True)
        released.set()

    with pytest.raises(KeyboardInterrupt):
        FarmRun("night", {"a_onnx": "a", "a_tflite": "a"}, run_job, stop, report=lambda line: None).run()
    assert stops == [True]
    last = journal.latest_by_job(journal.read(engines.FARM / "night" / engines.JOURNAL))
    assert {job: event.kind for job, event in last.items()} == {"a_onnx": "started"}


def test_a_run_interrupted_while_it_starts_its_devices_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    released, running, stops = threading.Event(), threading.Event(), []
    begin = threading.Thread.start

    def start_and_interrupt(thread: threading.Thread) -> None:
        begin(thread)
        assert running.wait(10)
        raise KeyboardInterrupt

    def run_job(job: str, reason: str | None) -> JobExit:
        running.set()
        released.wait(10)
        return JobExit(-15, "")

    def stop() -> None:
        stops.append(True)
        released.set()

    run = FarmRun("night", {"a_onnx": "a", "b_onnx": "b"}, run_job, stop, report=lambda line: None)
    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert stops == [True]
    last = journal.latest_by_job(journal.read(engines.FARM / "night" / engines.JOURNAL))
    assert {job: event.kind for job, event in last.items()} == {"a_onnx": "started"}


# --- leases, journal -----------------------------------------------------------------------------------------------


def _hold(directory: str, ready: Any) -> None:
    os.chdir(directory)
    with leases.hold("pi", "farm run tonight"):
        ready.set()
        time.sleep(60)


def test_a_lease_names_its_holder_and_ends_when_the_holder_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    holder = leases.describe_holder("pi")
    assert holder is not None
    assert f"process {process.pid} on " in holder
    assert "(farm run tonight)" in holder
    with pytest.raises(leases.DeviceBusyError, match=f"in use by process {process.pid}"), leases.hold("pi", "another"):
        pass
    process.kill()
    process.join()
    assert leases.describe_holder("pi") is None
    with leases.hold("pi", "another"):
        assert leases.describe_holder("pi") is not None


def test_a_device_that_another_process_holds_is_skipped_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    board = Board()
    with leases.hold("a", "by hand"):
        run = FarmRun("night", {"a_onnx": "a", "b_onnx": "b"}, board.run_job, report=lines.append)
        assert run.run() == {"a_onnx": "not run", "b_onnx": "done"}
    assert any("device 'a' is in use by process" in line for line in lines)


def test_a_journal_drops_a_torn_last_line_and_continues(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.Journal(path).append("failed", "job", "pi", 1, "why")
    line = path.read_bytes()
    for length in range(1, len(line)):
        path.write_bytes(line + line[:length])
        again = journal.Journal(path)
        again.append("done", "job", "pi", 2)
        assert [event.kind for event in journal.read(path)] == ["failed", "done"]
    path.write_text(f"hello\n{line.decode()}")
    damaged: list[str] = []
    assert [event.kind for event in journal.read(path, damaged)] == ["failed"]
    assert damaged == [f"{path} has 1 damaged line(s), the first is line 1"]


def test_failures_are_counted_since_the_job_was_last_done_or_abandoned() -> None:
    def make_event(kind: Any, job: str = "x") -> journal.JournalEvent:
        return journal.JournalEvent(kind, job, "pi", 1, "now")

    kinds = ["started", "failed", "failed", "done", "failed", "started"]
    assert journal.count_failures(map(make_event, kinds))["x"] == 1
    assert journal.count_failures([make_event("failed"), make_event("failed", "y"), make_event("abandoned")]) == {
        "x": 0,
        "y": 1,
    }


def test_an_unknown_engine_and_an_address_for_the_local_engine_are_refused(digits_study: Params) -> None:
    with pytest.raises(UnknownNameError, match="local, ray"):
        engines.start_engine("slurm", "night", Path(), digits_study, None)
    with pytest.raises(ConfigError, match="takes no address"):
        engines.start_engine("local", "night", Path(), digits_study, "10.0.0.1:6379")


# --- the command line ----------------------------------------------------------------------------------------------


def test_status_shows_jobs_lease_holders_and_quarantine(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_started_job_without_a_running_farm_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    journal.Journal(engines.FARM / "night" / engines.JOURNAL).append("started", "a_onnx", "a", 1)
    assert main.run(["farm", "status", "--name", "night"]) == 1
    assert "a_onnx: interrupted" in capsys.readouterr().out


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--name", "../night"], "is not a valid name of a run"),
        (["--devices", "tag:arm"], "no device has the tag 'arm'"),
        (["--devices", "dsk"], "Did you mean 'desk'?"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_reason(project: Path, argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        main.run(["farm", "run", *argv])
    assert message in str(caught.value)


def test_devices_are_chosen_by_name_or_tag_and_listed_once(project: Path) -> None:
    (project / "devices" / "pi.yaml").write_text(json.dumps({"transport": "fake", "threads": 1, "tags": ["arm"]}))
    choice = device_choice.choose_devices(None, ["tag:arm", "desk", "pi"])
    assert (choice.devices, choice.errors) == (["pi", "desk"], {})


def test_a_run_stores_the_parameters_of_the_study_on_the_chosen_devices(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_params, "FARM", tmp_path / "farm")
    monkeypatch.setattr(repro, "WORKTREES", tmp_path / "studies")
    with pytest.raises(ConfigError, match="Run 'edgeproof repro digits' first"):
        run_params.prepare_run("digits", None, "2026-01-02")
    (tmp_path / "studies" / "digits" / "artifacts").mkdir(parents=True)
    params, built = run_params.prepare_run("digits", ["local", "smart_camera"], "2026-01-02")
    assert {item.device for item in params.bench.values()} == {"local", "smart_camera"}
    assert {item.session for item in params.bench.values()} == {20260102}
    assert (built / "devices" / "smart_camera.yaml").is_file()
    assert run_params.prepare_run("digits", ["local", "smart_camera"], "2026-01-02")[0] == params
    with pytest.raises(ConfigError, match="started with other parameters"):
        run_params.prepare_run("digits", ["local"], "2026-01-02")
