"""Sessions on this machine with a runtime of one matrix."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.bench import load, pause
from edgeproof.bench import session as session_run
from edgeproof.bench.bench_session import BenchSession
from edgeproof.bench.load import DeviceLoad
from edgeproof.bench.schedule import Job
from edgeproof.bench.state import STALE_S
from edgeproof.bench.subject import build_subject
from edgeproof.config.params import Params
from edgeproof.core import directories, signatures
from edgeproof.core.errors import ConfigError
from edgeproof.records import kinds, record_files, signature_checks, signing
from edgeproof.records.record import Record
from tests.support import tiny_task
from tests.support.bench_project import SINGLE_STREAM, build_study, open_session, write_project
from tests.support.record_trees import count_correct
from tests.support.verdict_limits import REFUSING, TOLERANT

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def measured_project(digits_study: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which one whole session has run."""
    root = tmp_path_factory.mktemp("measured_project")
    for kind in ("tasks", "runtimes"):
        (root / "plugins" / kind).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROOF_PLUGINS", str(root / "plugins"))
        patch.chdir(root)
        write_project(root)
        session_run.run_study_session("desk_matrix", build_study(digits_study), TOLERANT)
    return root


def read_record(root: Path, *place: str) -> Record:
    return record_files.read(root.joinpath("results/records/desk_matrix", *place))


# --- a whole session -----------------------------------------------------------------------------------------------


def test_a_session_leaves_one_record_a_process_and_one_of_the_null_runtime(measured_project: Path) -> None:
    root = measured_project / "results/records/desk_matrix"
    assert {str(path.parent.relative_to(root)) for path in root.rglob(kinds.RECORD_FILE)} == {
        "null/m.fp32/single_stream.0",
        "matrix/m.fp32/accuracy.0",
        "matrix/m.fp32/accuracy.1",
        "matrix/m.fp32/single_stream.0",
        "matrix/m.fp32/server.0",
        "matrix/m.fp32/profile.0",
        "matrix/m.int8-static/unsupported.0",
    }


def test_a_missing_profile_is_recorded_with_its_reason_and_refuses_nothing(measured_project: Path) -> None:
    record = read_record(measured_project, "matrix", "m.fp32", "profile.0")
    assert record.verdict == "valid"
    assert record.content["profile"] == {"missing": "the matrix runtime has no profiler"}


def test_the_placement_that_the_device_reports_is_recorded_and_counted(measured_project: Path) -> None:
    record = read_record(measured_project, "matrix", "m.fp32", "profile.0")
    assert record.placement is not None
    assert str(record.placement) == "1 of 2"
    assert record.placement.fallbacks[0].describe() == "1 × Copy on Python: numpy is not asked (z)"


def test_accuracy_equals_numpys_over_the_whole_test_split(measured_project: Path) -> None:
    x, y = (np.load(measured_project / f"data/tiny/test/test_{name}.npy") for name in "xy")
    outputs = x.reshape(len(x), -1) @ tiny_task.matrix().T
    record = read_record(measured_project, "matrix", "m.fp32", "accuracy.0")
    assert record.verdict == "valid"
    np.testing.assert_allclose(record.read_array("outputs.npz", "outputs"), outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(record.load_evidence()["correct"], outputs.argmax(1) == y)
    assert count_correct(record) == (40, 50)


def test_accuracy_is_measured_for_the_model_of_every_seed(measured_project: Path) -> None:
    first, other = (read_record(measured_project, "matrix", "m.fp32", f"accuracy.{n}") for n in (0, 1))
    assert [record.content["artifact"]["model"]["seed"] for record in (first, other)] == [4, 7]
    np.testing.assert_allclose(
        other.read_array("outputs.npz", "outputs"), -first.read_array("outputs.npz", "outputs"), rtol=1e-6
    )
    # The other seed's matrix is the first one's negative, so its class is the one with the first's lowest output.
    labels = np.load(measured_project / "data/tiny/test/test_y.npy")
    right = int((first.read_array("outputs.npz", "outputs").argmin(1) == labels).sum())
    assert (other.verdict, count_correct(other)) == ("invalid", (right, 50))


def test_a_record_names_its_artifact_device_and_runner(measured_project: Path) -> None:
    content = read_record(measured_project, "matrix", "m.fp32", "single_stream.0").content
    meta = directories.read_meta(measured_project / "artifacts/matrix/m/fp32")
    assert content["artifact"]["sha256"] == directories.content_sha256(meta)
    assert (content["study"], content["task"], content["device"], content["session"]) == ("tiny", "tiny", "desk", 1)
    assert content["card"]["threads"] == content["job"]["threads"] == 1
    assert any((measured_project / ".edgeproof/runners").glob(f"runner-{content['runner']}.pyz"))
    assert content["measured_at"].endswith("+00:00")


def test_a_record_holds_one_raw_duration_a_query(measured_project: Path) -> None:
    for runtime in ("matrix", "null"):
        record = read_record(measured_project, runtime, "m.fp32", "single_stream.0")
        log = record.content["result"]["loadgen"]
        assert record.verdict == "valid"
        assert len(record.read_array("latencies.npz", "call_ns")) == log["result_query_count"] >= 200


def test_every_record_holds_the_latency_of_the_harness_alone(measured_project: Path) -> None:
    harness = read_record(measured_project, "null", "m.fp32", "single_stream.0").content["result"]["loadgen"]
    overhead = harness["result_50.00_percentile_latency_ns"]
    assert 0 < overhead < 1_000_000
    for name in ("single_stream.0", "server.0"):
        assert read_record(measured_project, "matrix", "m.fp32", name).content["harness_p50_ns"] == overhead


def test_the_servers_load_is_its_share_of_the_single_stream_rate(measured_project: Path) -> None:
    single = read_record(measured_project, "matrix", "m.fp32", "single_stream.0").read_array("latencies.npz", "call_ns")
    server = read_record(measured_project, "matrix", "m.fp32", "server.0").content
    expected = 0.01 * 1e9 / np.median(single)
    assert server["job"]["settings"]["server_target_qps"] == pytest.approx(expected)
    assert server["result"]["loadgen"]["effective_target_qps"] == pytest.approx(expected, rel=1e-4)


def test_an_unsupported_artifact_is_a_record_with_its_reason(measured_project: Path) -> None:
    content = read_record(measured_project, "matrix", "m.int8-static", "unsupported.0").content
    assert (content["verdict"], content["reasons"]) == ("unsupported", ["a matrix has no integers"])


def test_a_finished_session_leaves_no_job_and_no_partial_session(measured_project: Path) -> None:
    assert list((measured_project / ".edgeproof/sessions").iterdir()) == []
    assert list((measured_project / ".edgeproof/devices/desk/jobs").iterdir()) == []


# --- the order of jobs ---------------------------------------------------------------------------------------------


def test_each_round_measures_every_artifact_once_in_an_order_drawn_from_the_session_number(
    digits_study: Params, project: Path
) -> None:
    shutil.copytree(project / "artifacts/matrix/m", project / "artifacts/matrix/n")

    def plan(**changes: Any) -> list[Job]:
        artifacts = {"m": ["fp32", "int8-static"], "n": ["fp32"]}
        chosen = build_study(digits_study, **{"processes": 6, "artifacts": artifacts, **changes})
        item = chosen.bench["desk_matrix"]
        return BenchSession(item, build_subject(item, chosen), TOLERANT).plan()

    first, again, other = plan(), plan(), plan(session=2)
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other)
    assert max(Counter(first).values()) == 1
    assert first[0].scenario == kinds.ACCURACY
    rounds = [job for job in first if job.scenario == "single_stream"]
    for process in range(6):
        harness, *artifacts = rounds[3 * process : 3 * process + 3]
        assert harness.runtime == "null"  # its latency is recorded with the artifacts that follow
        assert {(job.runtime, job.model) for job in artifacts} == {("matrix", "m"), ("matrix", "n")}
        assert {job.process for job in (harness, *artifacts)} == {process}
    assert {job.model for job in rounds[1::3]} == {"m", "n"}  # neither always comes first
    scenarios = [job.scenario for job in first]
    assert scenarios.index("server") > max(i for i, name in enumerate(scenarios) if name == "single_stream")
    assert {job.runtime for job in first if job.scenario == "server"} == {"matrix"}


# --- interruptions -------------------------------------------------------------------------------------------------


NULL_JOB = Job("null", "m", "fp32", "single_stream", 0)


def test_a_continued_session_keeps_the_records_that_it_has(digits_study: Params, project: Path) -> None:
    open_session(digits_study).measure(NULL_JOB, 0)
    (path,) = project.rglob(kinds.RECORD_FILE)
    before = path.read_bytes()
    open_session(digits_study).measure(NULL_JOB, 0)
    assert path.read_bytes() == before  # a new measurement would have other durations


def test_a_finished_session_is_signed_if_a_key_is_configured(
    digits_study: Params, project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    session = open_session(digits_study)
    session.measure(session.plan()[0], 0)
    session.finish(elsewhere / "unsigned")
    assert signatures.verify_session(elsewhere / "unsigned") is None
    monkeypatch.setenv(signing.KEY_VARIABLE, str(elsewhere / "missing"))
    with pytest.raises(ConfigError, match="can't sign"):  # before anything is measured
        open_session(digits_study)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", elsewhere / "key"], check=True)
    monkeypatch.setenv(signing.KEY_VARIABLE, str(elsewhere / "key"))
    session = open_session(digits_study, seeds=[4])
    session.measure(session.plan()[0], 0)
    session.finish(elsewhere / "signed")
    assert [finding.outcome for finding in signature_checks.verify_sessions([elsewhere / "signed"], None)] == [
        "verified"
    ]


def test_an_artifact_is_interleaved_with_its_partner_if_both_are_supported(digits_study: Params, project: Path) -> None:
    shutil.copytree(project / "artifacts/matrix/m", project / "artifacts/matrix/n")
    artifacts = {"m": ["fp32", "int8-static"], "n": ["fp32"]}
    unsupported = {"m": {"fp32": ["m", "int8-static"], "int8-static": ["m", "fp32"]}}
    chosen = build_study(
        digits_study, artifacts=artifacts, interleaved=2, against={**unsupported, "n": {"fp32": ["m", "fp32"]}}
    )
    item = chosen.bench["desk_matrix"]
    jobs = BenchSession(item, build_subject(item, chosen), TOLERANT).plan()
    interleaved = [(job.model, job.scheme, job.process) for job in jobs if job.scenario == kinds.INTERLEAVED]
    assert interleaved == [("n", "fp32", 0), ("n", "fp32", 1)]
    assert {job.scenario for job in jobs} > {"accuracy", "single_stream", kinds.INTERLEAVED}


def test_another_session_number_measures_again(digits_study: Params, project: Path) -> None:
    open_session(digits_study).measure(NULL_JOB, 0)
    open_session(digits_study, session=2).measure(NULL_JOB, 0)
    assert len(list(project.rglob(kinds.RECORD_FILE))) == 2


def age(directory: Path, seconds: float, *, keep: str = "nothing") -> None:
    for path in [directory, *directory.rglob("*")]:
        if path.name != keep:
            os.utime(path, (time.time() - seconds,) * 2)


def test_a_session_without_a_new_record_for_an_hour_starts_again(digits_study: Params, project: Path) -> None:
    open_session(digits_study).measure(NULL_JOB, 0)
    (directory,) = (project / ".edgeproof/sessions").iterdir()
    age(directory, STALE_S + 60)
    open_session(digits_study)
    assert list(project.rglob(kinds.RECORD_FILE)) == []


def test_a_session_that_began_an_hour_ago_continues_after_a_recent_record(digits_study: Params, project: Path) -> None:
    open_session(digits_study).measure(NULL_JOB, 0)
    (directory,) = (project / ".edgeproof/sessions").iterdir()
    age(directory, STALE_S + 60, keep=kinds.RECORD_FILE)  # the session is old, its last record is not
    open_session(digits_study)
    assert len(list(project.rglob(kinds.RECORD_FILE))) == 1


# --- Server's load ---


def test_a_server_run_without_a_valid_single_stream_run_is_invalid(
    digits_study: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_run, "REPEATS", 1)
    session_run.run_study_session("desk_matrix", build_study(digits_study, seeds=[4]), REFUSING)
    root = project / "results/records/desk_matrix/matrix/m.fp32"
    records = [record_files.read(path) for path in sorted(root.glob("server.*"))]
    assert len(records) == 1  # all single-stream runs are over by then, so nothing can change
    assert all(record.verdict == "invalid" for record in records)
    assert "of which no run was valid" in records[0].content["reasons"][0]


# --- compliance ---


def test_compliance_runs_use_their_audit_and_are_recorded_under_its_name(digits_study: Params, project: Path) -> None:
    alone = {"single_stream": {"scenario": "SingleStream", "settings": {"min_duration_ms": 5, "min_query_count": 200}}}
    session_run.run_study_session(
        "desk_matrix", build_study(digits_study, seeds=[4], all=alone, compliance=["TEST01", "TEST04"]), TOLERANT
    )
    root = project / "results/records/desk_matrix/matrix/m.fp32"
    one, four = (record_files.read(root / f"single_stream_test0{number}.0") for number in (1, 4))
    assert (one.content["compliance"], four.content["compliance"]) == ("TEST01", "TEST04")
    assert one.verdict == four.verdict == "valid"
    assert one.content["result"]["loadgen"]["effective_accuracy_log_sampling_target"] == 4096
    assert four.content["result"]["loadgen"]["effective_performance_issue_same"] is True
    assert (root / "single_stream_test01.0/audit.config").is_file()
    assert record_files.read(root / "single_stream.0").content["compliance"] is None


# --- disturbances ---------------------------------------------------------------------------------------------------


def test_a_disturbed_run_is_repeated_at_once_and_every_attempt_is_kept(
    digits_study: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_run, "REPEATS", 2)
    session_run.run_study_session(
        "desk_matrix", build_study(digits_study, seeds=[4], final={}, all={"single_stream": SINGLE_STREAM}), REFUSING
    )
    root = project / "results/records/desk_matrix"
    for runtime in ("matrix", "null"):
        places = sorted(path.name for path in (root / runtime / "m.fp32").glob("single_stream*"))
        attempts = range(1, session_run.REPEATS + 1)
        assert places == ["single_stream.0", *(f"single_stream.0.again{n}" for n in attempts)]
        records = [record_files.read(root / runtime / "m.fp32" / name) for name in places]
        assert [record.content["attempt"] for record in records] == [0, *attempts]
        assert all(record.verdict == "invalid" and record.content["disturbed"] for record in records)
    ordered = sorted(record_files.read_all(root), key=lambda record: record.content["order"])
    taken = [(r.content["runtime"], r.content["attempt"]) for r in ordered if r.content["scenario"] == "single_stream"]
    assert taken == [(runtime, attempt) for runtime in ("null", "matrix") for attempt in (0, *attempts)]


def test_a_session_pauses_after_three_attempts_that_other_processes_disturbed(
    digits_study: Params, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "measure_load", lambda transport: DeviceLoad(pressure_share=1.0, busy_cpus=9.0))
    monkeypatch.setenv("EDGEPROOF_PATIENCE_S", "0.02")
    monkeypatch.setattr(pause, "INTERVAL_S", 0.01)
    limits = dataclasses.replace(TOLERANT, others_cpus=-1.0, pressure_share=1.0)
    session_run.run_study_session(
        "desk_matrix", build_study(digits_study, seeds=[4], final={}, all={"single_stream": SINGLE_STREAM}), limits
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "single_stream" in line or "paused" in line]
    assert ["paused" in line for line in lines[:4]] == [False, False, False, True]
    assert sum("paused" in line for line in lines) == 1  # the time for pauses is used up


def test_an_accuracy_below_the_tasks_floor_is_invalid_with_both_figures(digits_study: Params, project: Path) -> None:
    session = open_session(digits_study, quality_target=0.81)
    record = session.measure(Job("matrix", "m", "fp32", kinds.ACCURACY, 0), 0)
    assert record.verdict == "invalid"
    assert record.content["reasons"] == ["accuracy 80.00% is below the task's floor of 81.00%"]
    assert count_correct(record) == (40, 50)
