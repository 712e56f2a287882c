"""The wait for a quiet device before a session, with a clock that only looking at the device advances."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeproof.bench import load, session
from edgeproof.bench.load import DeviceLoad
from edgeproof.bench.patience import Patience, read_patience, wait_until_quiet
from edgeproof.bench.subject import build_subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.records import record_files
from edgeproof.study import repro
from tests.support.bench_project import SINGLE_STREAM, build_study, write_project
from tests.support.verdict_limits import TOLERANT

BUSY = DeviceLoad(pressure_share=0.45, busy_cpus=3.9)


class Machine:
    """A machine that other processes keep busy for some seconds. Each look takes a second."""

    def __init__(self, busy_s: float) -> None:
        self.now_s = 0.0
        self._busy_s = busy_s

    def look(self) -> DeviceLoad:
        is_busy = self.now_s < self._busy_s
        self.now_s += 1
        return BUSY if is_busy else DeviceLoad(0.0, 0.01)

    def wait(self, patience: Patience, limits: VerdictLimits = DEFAULT_LIMITS) -> float:
        """Wait, and return how long it took."""
        wait_until_quiet(
            "pi",
            self.look,
            limits,
            patience,
            list_processes=lambda: ["python3 (pid 7) 1.98"],
            clock=lambda: self.now_s,
        )
        return self.now_s


@pytest.mark.parametrize("patience", [Patience(), Patience(0), Patience(60, measures_busy=True)])
def test_a_quiet_device_is_measured_after_one_look(patience: Patience, capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(0).wait(patience) == 1
    assert capsys.readouterr().err == ""


def test_a_busy_device_is_waited_for_with_a_countdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(25).wait(Patience(60)) == 26
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        f"  device 'pi' is busy, {left_s} s left to wait" for left_s in (59, 39)
    ]
    assert "other processes use 3.90 processors (limit 0.25)" in lines[0]
    assert lines[-1] == "  device 'pi' is quiet after 26 s"


@pytest.mark.parametrize("seconds", [0, 10])
def test_a_device_that_stays_busy_is_not_measured_and_its_processes_are_named(seconds: float) -> None:
    machine = Machine(1000)
    with pytest.raises(DeviceError) as raised:
        machine.wait(Patience(seconds))
    assert machine.now_s == max(1, seconds)
    message = str(raised.value)
    assert "tasks wait for a processor in 45% of the time (limit 10%)" in message
    assert "Most are used by python3 (pid 7) 1.98." in message
    assert "No run was started" in message
    assert "--if-busy measure" in message


def test_a_busy_device_is_measured_if_the_user_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(1000).wait(Patience(10, measures_busy=True)) == 10
    assert "measured all the same" in capsys.readouterr().err
    assert Machine(1000).wait(Patience(0, measures_busy=True)) == 0


@pytest.mark.parametrize(
    ("environment", "patience"),
    [
        ({}, Patience(60)),
        ({"EDGEPROOF_PATIENCE_S": "", "EDGEPROOF_IF_BUSY": ""}, Patience(60)),
        ({"EDGEPROOF_PATIENCE_S": "7.5"}, Patience(7.5)),
        ({"EDGEPROOF_IF_BUSY": "measure"}, Patience(60, measures_busy=True)),
        (Patience(0, measures_busy=True).to_environment(), Patience(0, measures_busy=True)),
        (Patience(12.5).to_environment(), Patience(12.5)),
    ],
)
def test_the_environment_says_how_patient_a_session_is(environment: dict[str, str], patience: Patience) -> None:
    assert read_patience(environment) == patience


@pytest.mark.parametrize(
    ("name", "value"),
    [("EDGEPROOF_PATIENCE_S", text) for text in ("-1", "nan", "inf", "soon")] + [("EDGEPROOF_IF_BUSY", "go")],
)
def test_another_value_in_the_environment_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be .*'{value}'"):
        read_patience({name: value})


@pytest.mark.parametrize("value", ["-1", "nan", "soon"])
def test_another_value_of_the_option_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "m.onnx", f"--patience={value}"])
    assert "a number of seconds, 0 or more" in capsys.readouterr().err


def test_the_options_of_repro_reach_the_stages_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_PATIENCE_S", "1")
    monkeypatch.setenv("EDGEPROOF_IF_BUSY", "stop")
    seen: list[Patience] = []

    def run_study(*_: object, **__: object) -> int:
        seen.append(read_patience())
        return 0

    monkeypatch.setattr(repro, "run_study", run_study)
    assert main.run(["repro", "digits", "--patience", "300", "--if-busy", "measure"]) == 0
    assert main.run(["repro", "digits", "--patience", "5"]) == 0
    assert seen == [Patience(300, measures_busy=True), Patience(5, measures_busy=True)]


# --- a session -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    monkeypatch.setattr(load, "measure_load", lambda transport: BUSY)
    monkeypatch.setattr(load, "list_busy_processes", lambda transport: [])
    return tmp_path


def test_a_session_on_a_busy_device_stops_before_anything_is_measured(digits_study: Params, project: Path) -> None:
    study = build_study(digits_study)
    item = study.bench["desk_matrix"]
    with pytest.raises(DeviceError, match="device 'desk' is busy"):
        session.run(item, build_subject(item, study), DEFAULT_LIMITS, Patience(0))
    assert list(record_files.read_all(project / ".edgeproof/sessions")) == []


def test_sessions_whose_times_nothing_refuses_do_not_look_at_the_device(digits_study: Params, project: Path) -> None:
    study = build_study(digits_study)
    item = study.bench["desk_matrix"]
    interleaved = item.model_copy(update={"processes": 0, "final": {}})
    for params, limits in ((item, TOLERANT), (interleaved, DEFAULT_LIMITS)):
        session.BenchSession(params, build_subject(params, study), limits, Patience(0)).wait_until_quiet()
    (project / "devices/desk.yaml").write_text("transport: fake\nthreads: 1\n")
    session.BenchSession(item, build_subject(item, study), DEFAULT_LIMITS, Patience(0)).wait_until_quiet()


@pytest.mark.end_to_end
def test_a_session_that_gave_up_records_the_other_runs_as_not_started(digits_study: Params, project: Path) -> None:
    study = build_study(digits_study, seeds=[4], final={}, all={"single_stream": SINGLE_STREAM}, processes=2)
    item = study.bench["desk_matrix"]
    limits = dataclasses.replace(TOLERANT, others_cpus=-1.0)  # every run is refused, whatever the machine does
    # The machine is quiet when the session begins, and busy after three runs.
    loads = iter([DeviceLoad(busy_cpus=-2.0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "measure_load", lambda transport: next(loads, BUSY))
        session.run(item, build_subject(item, study), limits, Patience(0)).finish(project / "out")
    timed = [record for record in record_files.read_all(project / "out") if record.identity.scenario == "single_stream"]
    ordered = sorted(timed, key=lambda record: record.order)
    assert [record.result is not None for record in ordered] == [True, True, True, False, False, False, False]
    assert {record.verdict for record in ordered} == {"invalid"}
    assert all("not started: other processes use 3.90 processors" in record.reasons[0] for record in ordered[3:])
