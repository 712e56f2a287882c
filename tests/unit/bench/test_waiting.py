"""Two sessions on one device at the same time: the second one says that it waits, and both succeed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from edgeproof.bench import external, runner_jobs, session
from edgeproof.bench.external_results import ExternalResults
from edgeproof.bench.subject import build_subject
from edgeproof.config.params import Params
from edgeproof.devices import locks
from edgeproof.records import kinds, record_files
from edgeproof.report import interleaved
from tests.support import external_project
from tests.support.bench_project import build_study, write_project
from tests.support.external_files import write_onnx
from tests.support.verdict_limits import TOLERANT

pytestmark = pytest.mark.end_to_end

TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def lock_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's locks in a directory of the test, and run the test in its own project."""
    monkeypatch.setattr(locks, "_get_lock_directory", lambda: tmp_path / "machine")
    monkeypatch.chdir(tmp_path)


def run_both(first: Callable[[], object], second: Callable[[], object]) -> list[Future[object]]:
    """Run two functions at the same time and return their futures, which are done."""
    start = threading.Barrier(2)

    def run(function: Callable[[], object]) -> object:
        start.wait()
        return function()

    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(run, first), pool.submit(run, second)]


def test_two_sessions_on_one_device_run_one_after_the_other(
    digits_study: Params, plugin_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path)

    def measure(number: int) -> None:
        study = build_study(digits_study, session=number, seeds=[4], final={})
        item = study.bench["desk_matrix"]
        session.run(item, build_subject(item, study), TOLERANT).finish(Path(f"out_{number}"))

    for future in run_both(partial(measure, 1), partial(measure, 2)):
        future.result()
    assert "waiting for device 'desk', on which" in capfd.readouterr().err
    spans = []
    for number in (1, 2):
        records = [
            record
            for record in record_files.read_all(tmp_path / f"out_{number}")
            if record.content["scenario"] in ("single_stream", kinds.ACCURACY)
        ]
        assert [record.reasons for record in records] == [()] * 3
        results = [record.content["result"]["counters"] for record in records]
        spans.append(
            (
                min(result["before"]["monotonic_ns"] for result in results),
                max(result["after"]["monotonic_ns"] for result in results),
            )
        )
    (_, first_end_ns), (second_begin_ns, _) = sorted(spans)
    assert first_end_ns < second_begin_ns


def test_a_session_starts_when_the_device_is_free(
    digits_study: Params, plugin_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path)
    study = build_study(digits_study, seeds=[4], final={})
    with ThreadPoolExecutor(1) as pool:
        with locks.hold_for_measuring("desk", here=True):
            future = pool.submit(session.run_study_session, "desk_matrix", study, TOLERANT)
            message = ""
            deadline_s = time.monotonic() + TIMEOUT_S
            while "waiting for device 'desk'" not in message and time.monotonic() < deadline_s:
                time.sleep(0.05)
                message += capfd.readouterr().err
            assert not future.done()
            assert not list(tmp_path.rglob(kinds.RECORD_FILE))
        assert "waiting for device 'desk'" in message
        future.result(TIMEOUT_S)
    assert len(list((tmp_path / "results").rglob(kinds.RECORD_FILE))) == 5


@pytest.mark.parametrize("names", [("same", "same"), ("one", "other")], ids=["the same name", "other names"])
def test_two_benchmarks_of_the_same_files_at_once_both_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], names: tuple[str, str]
) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.setattr(interleaved, "ROUNDS", 2)
    monkeypatch.setattr(runner_jobs, "INTERLEAVED_DURATION_MS", 20)
    external_project.write_project(tmp_path)
    paths = [write_onnx(Path(f"{name}.onnx")) for name in ("a", "b")]

    def measure(name: str) -> ExternalResults:
        options = external.BenchOptions(preset="quick", name=name, interleaved=True)
        return external.measure_files(paths, options, TOLERANT)

    futures = run_both(*(partial(measure, name) for name in names))
    for future, name in zip(futures, names, strict=True):
        results = future.result()
        assert isinstance(results, ExternalResults)
        assert results.runs == {"valid": 2}
        records = record_files.read_all(results.directory / "records")
        assert {record.identity.study for record in records} == {f"{name}_interleaved"}
    assert "waiting for" in capfd.readouterr().err
