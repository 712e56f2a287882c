"""The contract of every farm engine: a job that is done has records in the history, and no other job has."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproof import entry
from edgeproof.config import params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.farm import engines
from edgeproof.farm.engines import HISTORY, Engine, JobExit
from edgeproof.records import record_files
from tests.support import tiny_task
from tests.support.bench_project import ITEM, build_study, write_project

pytestmark = pytest.mark.timeout(300)
DEVICES = ("desk", "lap", "tab")
# Sessions of this runtime wait until the gate file exists.
GATE = """
import os, time
_load = Session.__init__
def _wait(self, artifact_dir, *, threads):
    _load(self, artifact_dir, threads=threads)
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
Session.__init__ = _wait
"""


def job_of(device: str) -> str:
    return f"{device}_matrix"


def compose_night(digits_study: Params) -> Params:
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    content = {**ITEM, "transport": "fake", "seeds": [4], "all": ITEM["every"], "final": {}}
    items = {job_of(name): BenchParams.model_validate({**content, "device": name}) for name in DEVICES}
    return chosen.model_copy(update={"bench": items})


@pytest.fixture(scope="module", params=engines.list_names())
def engine(
    request: pytest.FixtureRequest, digits_study: Params, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Start an engine in a project of three devices whose sessions wait for the file 'go'."""
    root = tmp_path_factory.mktemp("project")
    (root / "plugins" / "tasks").mkdir(parents=True)
    (root / "plugins" / "runtimes").mkdir()
    write_project(root, tiny_task.RUNTIME + GATE.format(gate=str(root / "go")))
    for name in DEVICES:
        (root / "devices" / f"{name}.yaml").write_text("transport: fake\nthreads: 1\n")
    (root / "go").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("EDGEPROOF_PLUGINS", str(root / "plugins"))
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        params = compose_night(digits_study)
        params_file.write_params(params, "test", engines.FARM / "night" / engines.PARAMS)
        engine = engines.start_engine(request.param, "night", Path(), params, None)
        yield engine
        engine.stop()
        if request.param == "ray":
            import ray

            ray.shutdown()


@pytest.fixture(autouse=True)
def open_gate(engine: Engine) -> None:
    Path("go").touch()


def list_sessions() -> list[int]:
    """Return the process ids of this project's sessions."""
    pids = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue
        if b"edgeproof.farm.session" in command and str(Path("cache").resolve()).encode() in environment:
            pids.append(int(directory.name))
    return pids


def wait_for_sessions(count: int) -> list[int]:
    deadline = time.monotonic() + 60
    while len(list_sessions()) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return list_sessions()


def run_in_thread(engine: Engine, job: str) -> tuple[threading.Thread, list[JobExit]]:
    results: list[JobExit] = []
    thread = threading.Thread(target=lambda: results.append(engine.run_job(job, None)))
    thread.start()
    return thread, results


def test_devices_work_in_parallel_and_a_done_job_has_its_records_in_the_history(engine: Engine) -> None:
    Path("go").unlink()
    jobs = {name: run_in_thread(engine, job_of(name)) for name in ("desk", "lap")}
    assert len(wait_for_sessions(2)) == 2
    Path("go").touch()
    for name, (thread, results) in jobs.items():
        thread.join(120)
        assert [result.code for result in results] == [0], results
        records = list(record_files.read_all(HISTORY / "night" / job_of(name)))
        assert {record.content["device"] for record in records} == {name}
        assert {"single_stream", "accuracy", "profile", "unsupported"} == {
            record.content["scenario"] for record in records
        }
        assert (engines.FARM / "night" / engines.LOGS / f"{job_of(name)}.log").is_file()


def test_a_killed_session_leaves_no_records_and_can_run_again(engine: Engine) -> None:
    Path("go").unlink()
    thread, results = run_in_thread(engine, job_of("tab"))
    for process in wait_for_sessions(1):
        os.kill(process, signal.SIGKILL)
    thread.join(60)
    assert results[0].code not in (0, entry.USAGE_ERROR)
    assert not (HISTORY / "night" / job_of("tab")).exists()
    Path("go").touch()
    assert engine.run_job(job_of("tab"), None).code == 0
    assert list(record_files.read_all(HISTORY / "night" / job_of("tab")))


def hide_records(job: str) -> None:
    """Move a job's records out of its place in the history, as if it had not run."""
    directory = HISTORY / "night" / job
    if directory.exists():
        directory.rename(directory.with_name(f"{job}.hidden.{time.monotonic_ns()}"))


def test_an_abandoned_job_has_records_with_the_reason(engine: Engine) -> None:
    hide_records(job_of("lap"))
    for sessions in Path().rglob("sessions"):
        sessions.rename(sessions.with_name(f"sessions.{time.monotonic_ns()}"))
    assert engine.run_job(job_of("lap"), "the board is on fire").code == 0
    records = list(record_files.read_all(HISTORY / "night" / job_of("lap")))
    errors = [record for record in records if record.verdict == "error"]
    assert errors
    assert all(record.content["reasons"] == ["the board is on fire"] for record in errors)


def test_an_error_of_the_study_is_reported_with_its_message(engine: Engine) -> None:
    hide_records(job_of("tab"))
    card = Path("devices/tab.yaml")
    content = card.read_text()
    card.write_text("transport: pigeon\nthreads: 1\n")
    result = engine.run_job(job_of("tab"), None)
    card.write_text(content)
    assert result.code == entry.USAGE_ERROR
    assert "pigeon" in result.message
    assert not (HISTORY / "night" / job_of("tab")).exists()


def test_a_stopped_engine_leaves_no_process_and_starts_none(engine: Engine) -> None:
    Path("go").unlink()
    hide_records(job_of("desk"))
    thread, results = run_in_thread(engine, job_of("desk"))
    assert len(wait_for_sessions(1)) == 1
    engine.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert results[0].code != 0
    assert wait_for_sessions(0) == []
    assert engine.run_job(job_of("desk"), None).code == entry.TERMINATED
    assert not (HISTORY / "night" / job_of("desk")).exists()
