"""What every engine of the farm promises: records are there when a job is done, and nothing is when it is not."""

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
from tests.unit.bench.test_session import ITEM, study, write_project
from tests.unit.conftest import digits_study

__all__ = ["digits_study"]

pytestmark = pytest.mark.timeout(300)
DEVICES = ("desk", "lap", "tab")
# A session of this one runs until somebody creates a file.
GATE = """
import os, time
_load = Session.__init__
def _wait(self, artifact_dir, *, threads):
    _load(self, artifact_dir, threads=threads)
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
Session.__init__ = _wait
"""


def of(job: str) -> str:
    return f"{job}_matrix"


def nights(digits_study: Params) -> Params:
    chosen = study(digits_study, transport="fake", seeds=[4])
    content = {**ITEM, "transport": "fake", "seeds": [4], "all": ITEM["every"], "final": {}}
    items = {of(name): BenchParams.model_validate({**content, "device": name}) for name in DEVICES}
    return chosen.model_copy(update={"bench": items})


@pytest.fixture(scope="module", params=engines.names())
def engine(
    request: pytest.FixtureRequest, digits_study: Params, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A started engine in a project of three devices, whose sessions wait for the file 'go'."""
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
        params = nights(digits_study)
        params_file.write_params(params, "test", engines.FARM / "night" / engines.PARAMS)
        started = engines.start_engine(request.param, "night", Path(), params, None)
        yield started
        started.end()
        if request.param == "ray":
            import ray

            ray.shutdown()


@pytest.fixture(autouse=True)
def open_gate(engine: Engine) -> None:
    Path("go").touch()


def sessions_running() -> list[int]:
    """Process ids of this project's sessions."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue
        if b"edgeproof.farm.session" in command and str(Path("cache").resolve()).encode() in environment:
            found.append(int(directory.name))
    return found


def waited_for(count: int) -> list[int]:
    deadline = time.monotonic() + 60
    while len(sessions_running()) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return sessions_running()


def in_thread(engine: Engine, job: str) -> tuple[threading.Thread, list[JobExit]]:
    ended: list[JobExit] = []
    thread = threading.Thread(target=lambda: ended.append(engine.start(job, None)))
    thread.start()
    return thread, ended


def test_devices_work_side_by_side_and_records_are_in_the_history_when_a_job_is_done(engine: Engine) -> None:
    Path("go").unlink()
    jobs = {name: in_thread(engine, of(name)) for name in ("desk", "lap")}
    assert len(waited_for(2)) == 2
    Path("go").touch()
    for name, (thread, ended) in jobs.items():
        thread.join(120)
        assert [attempt.code for attempt in ended] == [0], ended
        found = list(record_files.read_all(HISTORY / "night" / of(name)))
        assert {record.content["device"] for record in found} == {name}
        assert {"single_stream", "accuracy", "unsupported"} == {record.content["scenario"] for record in found}
        assert (engines.FARM / "night" / engines.LOGS / f"{of(name)}.log").is_file()


def test_a_killed_session_leaves_nothing_and_may_be_tried_again(engine: Engine) -> None:
    Path("go").unlink()
    thread, ended = in_thread(engine, of("tab"))
    for process in waited_for(1):
        os.kill(process, signal.SIGKILL)
    thread.join(60)
    assert ended[0].code not in (0, entry.USAGE_ERROR)
    assert not (HISTORY / "night" / of("tab")).exists()
    Path("go").touch()
    assert engine.start(of("tab"), None).code == 0
    assert list(record_files.read_all(HISTORY / "night" / of("tab")))


def put_away(job: str) -> None:
    """Put a job's records out of the history, as if it had not run."""
    place = HISTORY / "night" / job
    if place.exists():
        place.rename(place.with_name(f"{job}.away.{time.monotonic_ns()}"))


def test_a_job_that_is_abandoned_ends_as_records_that_say_why(engine: Engine) -> None:
    put_away(of("lap"))
    for kept in Path().rglob("sessions"):
        kept.rename(kept.with_name(f"sessions.{time.monotonic_ns()}"))
    assert engine.start(of("lap"), "the board is on fire").code == 0
    found = list(record_files.read_all(HISTORY / "night" / of("lap")))
    errors = [record for record in found if record.verdict == "error"]
    assert errors
    assert all(record.content["reasons"] == ["the board is on fire"] for record in errors)


def test_what_is_wrong_with_the_study_is_said_in_its_own_words(engine: Engine) -> None:
    put_away(of("tab"))
    card = Path("devices/tab.yaml")
    kept = card.read_text()
    card.write_text("transport: pigeon\nthreads: 1\n")
    attempt = engine.start(of("tab"), None)
    card.write_text(kept)
    assert attempt.code == entry.USAGE_ERROR
    assert "pigeon" in attempt.message
    assert not (HISTORY / "night" / of("tab")).exists()


def test_ended_it_leaves_no_process_and_starts_nothing(engine: Engine) -> None:
    Path("go").unlink()
    put_away(of("desk"))
    thread, ended = in_thread(engine, of("desk"))
    assert len(waited_for(1)) == 1
    engine.end()
    thread.join(60)
    assert not thread.is_alive()
    assert ended[0].code != 0
    assert waited_for(0) == []
    assert engine.start(of("desk"), None).code == entry.TERMINATED
    assert not (HISTORY / "night" / of("desk")).exists()
