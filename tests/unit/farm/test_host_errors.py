"""Failures of the host and refusals of a device: which of them are tried again, and which records they leave."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproof.bench import session as session_run
from edgeproof.config import params_file
from edgeproof.config.params import Params
from edgeproof.core import directories
from edgeproof.core.errors import ConfigError, DeviceRefusedError, DeviceUnreachableError
from edgeproof.farm import dispatcher, engines, exit_codes, host_errors, journal, quarantine, session
from edgeproof.farm.dispatcher import FarmRun
from edgeproof.farm.engines import JobExit
from edgeproof.transports import local
from tests.support.bench_project import SESSION, build_study, write_project

DONE = JobExit(0, "")
DISK_FULL = JobExit(exit_codes.HOST_ERROR, "could not write runner.pyz: No space left on device")
REFUSED = JobExit(exit_codes.DEVICE_REFUSED, "the host key of pi changed")


class Jobs:
    """Jobs on the device 'pi' whose attempts end as scripted. Attempts beyond the script are done."""

    def __init__(self, *answers: JobExit | Exception) -> None:
        self.answers = list(answers)
        self.attempts = 0
        self.abandoned: list[str] = []
        self.pauses: list[float] = []
        self.lines: list[str] = []

    def run_job(self, job: str, reason: str | None) -> JobExit:
        if reason is not None:
            self.abandoned.append(reason)
            return self._write_records(job, reason)
        self.attempts += 1
        answer = self.answers.pop(0) if self.answers else DONE
        if isinstance(answer, Exception):
            raise answer
        return self._write_records(job, "measured") if answer is DONE else answer

    def run(self, job: str = "pi_onnx") -> str:
        run = FarmRun("night", {job: "pi"}, self.run_job, report=self.lines.append, pause=self.pauses.append)
        return run.run()[job]

    def _write_records(self, job: str, text: str) -> JobExit:
        with directories.write_atomically(engines.HISTORY / "night" / job) as out:
            (out / "record").write_text(text)
        return DONE


def read_records() -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in (engines.HISTORY / "night").glob("*/record")}


# --- the dispatcher ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [DISK_FULL, OSError(errno.EIO, "Input/output error")], ids=["in the session", "in the farm"]
)
def test_a_failure_of_the_host_is_tried_again_and_puts_no_device_into_quarantine(failure: JobExit | Exception) -> None:
    jobs = Jobs(*[failure] * 3)
    assert jobs.run() == "done"
    assert jobs.attempts == 4
    assert jobs.pauses == [30.0, 60.0, 120.0]
    assert quarantine.list_devices() == []


def test_a_session_that_the_host_could_not_write_is_given_up_without_records_and_the_same_command_runs_it() -> None:
    jobs = Jobs(*[DISK_FULL] * 9)
    assert jobs.run() == "failed"
    assert jobs.attempts == dispatcher.MAX_ATTEMPTS
    assert jobs.abandoned == []
    assert quarantine.list_devices() == []
    again = Jobs(*[DISK_FULL] * 3)
    assert again.run() == "done"
    assert read_records() == {"pi_onnx": "measured"}


def test_failures_of_the_host_do_not_count_as_failures_of_the_device() -> None:
    lost = JobExit(exit_codes.TRY_AGAIN, "the link was lost")
    jobs = Jobs(DISK_FULL, lost, DISK_FULL, lost, DISK_FULL, lost)
    assert jobs.run() == "done"
    assert quarantine.list_devices() == []
    events = journal.read(engines.FARM / "night" / engines.JOURNAL)
    assert [event.attempt for event in events if event.kind == "failed"] == [0, 1, 0, 2, 0, 3]


def test_a_refused_connection_is_not_tried_again_and_the_same_command_tries_it_once_more() -> None:
    jobs = Jobs(REFUSED)
    assert jobs.run() == "failed"
    assert (jobs.attempts, jobs.abandoned, jobs.pauses) == (1, [REFUSED.message], [])
    assert quarantine.list_devices() == []
    again = Jobs()
    assert (again.run(), again.attempts) == ("done", 1)


def test_the_records_of_every_session_that_was_given_up_are_kept() -> None:
    wrong = JobExit(2, "no artifact")
    for _ in range(2):
        assert Jobs(wrong).run() == "failed"
    assert Jobs().run() == "done"
    assert read_records() == {
        "pi_onnx": "measured",
        "pi_onnx.given_up_1": "no artifact",
        "pi_onnx.given_up_2": "no artifact",
    }
    assert Jobs(wrong).run() == "done"  # a finished session never runs again


def test_a_session_that_was_given_up_waits_for_the_release_of_its_device() -> None:
    quarantine.add("pi", "smoke")
    Jobs().run()
    waiting = Jobs()
    assert (waiting.run(), waiting.attempts) == ("failed", 0)
    assert any("edgeproof farm release pi" in line for line in waiting.lines)
    assert list(read_records()) == ["pi_onnx"]
    quarantine.release("pi")
    assert Jobs().run() == "done"


# --- one session ---------------------------------------------------------------------------------------------------


@pytest.fixture
def study_file(plugin_root: Path, tmp_path: Path, digits_study: Params) -> Path:
    write_project(tmp_path)
    params_file.write_params(build_study(digits_study, seeds=[4]), "test", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def raise_from(error: OSError) -> None:
    raise ConfigError("could not write runner.pyz") from error


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        (lambda: raise_from(OSError(errno.ENOSPC, "No space left on device")), exit_codes.HOST_ERROR),
        (lambda: raise_from(OSError(errno.ESTALE, "Stale file handle")), exit_codes.HOST_ERROR),
        (lambda: Path("/dev/full").write_text("x"), exit_codes.HOST_ERROR),
        (lambda: _raise(DeviceUnreachableError("the link was lost")), exit_codes.TRY_AGAIN),
        (lambda: _raise(DeviceRefusedError("the host key changed")), exit_codes.DEVICE_REFUSED),
    ],
    ids=["disk full", "stale handle", "write to a full device", "lost link", "refused"],
)
def test_the_exit_code_of_a_session_says_whether_the_host_or_the_device_failed(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], object], code: int
) -> None:
    monkeypatch.setattr(session_run, "run", lambda *arguments: fail())
    assert session.main([SESSION, str(study_file), "out"]) == code


def test_an_error_of_the_study_is_not_a_failure_of_the_host(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_run, "run", lambda *arguments: raise_from(PermissionError(errno.EACCES, "denied")))
    with pytest.raises(ConfigError):
        session.main([SESSION, str(study_file), "out"])
    assert not host_errors.is_transient(ConfigError("wrong"))


def _raise(error: Exception) -> None:
    raise error


def test_a_refused_connection_ends_the_session_at_once_and_leaves_no_record(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushes: list[str] = []

    def refuse(transport: local.Transport, path: Path, name: str) -> None:
        pushes.append(name)
        raise DeviceRefusedError("the host key of desk changed")

    monkeypatch.setattr(local.Transport, "push", refuse)
    assert session.main([SESSION, str(study_file), "out"]) == exit_codes.DEVICE_REFUSED
    assert len(pushes) == 1
    assert not Path("out").exists()
    assert "error: the host key of desk changed" in capsys.readouterr().err
