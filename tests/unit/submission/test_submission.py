"""Submissions: what records make one, what is in it, and what is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproof import submission
from edgeproof.core.errors import ArtifactError, EdgeproofError
from edgeproof.submission import SubmissionError, runs, selection, submit, validate
from tests.support import submission_trees as trees
from tests.support.submission_trees import SCENARIO, TINY, edited, logged, resealed


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return trees.records(tmp_path / "records")


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be as short as the fixtures' runs are."""
    monkeypatch.setattr(runs, "MIN_DURATION_MS", trees.SHORT_MS)


def submitted(records: Path, out: Path, flavour: submission.Flavour = "inference", **options: Any) -> list[Path]:
    return submit(records, out, **{"submitter": "Example", "flavour": flavour, "commit": "0123abc", **options})


def refusal(records: Path, **options: Any) -> str:
    """What a refused submission says; nothing is left of it."""
    out = records.parent / "out"
    with pytest.raises(SubmissionError) as error:
        submitted(records, out, **options)
    assert not out.exists()
    assert not list(records.parent.glob(".*"))
    return str(error.value)


# --- runs of 600 seconds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["inference", "tiny"])
def test_real_official_records_make_a_submission_that_is_accepted(tmp_path: Path, flavour: submission.Flavour) -> None:
    records = trees.records(tmp_path / "records", trees.OFFICIAL)
    out = tmp_path / "out"
    files = submitted(records, out, flavour)
    assert files
    assert validate(out) == []


# --- the inference flavour -----------------------------------------------------------------------------------------


def test_a_submission_has_every_scenario_and_compliance_run(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    files = submitted(records, out)
    assert files == sorted(path for path in out.rglob("*") if path.is_file())
    scenarios = {path.name for path in (out / SCENARIO).parent.iterdir()}
    assert scenarios == {"SingleStream", "MultiStream", "Offline", "Server"}
    of_single = sorted(path.relative_to(out / SCENARIO).as_posix() for path in files if out / SCENARIO in path.parents)
    assert of_single == [
        "README.md",
        "TEST01/accuracy/accuracy.txt",
        "TEST01/accuracy/mlperf_log_accuracy.json",
        "TEST01/performance/run_1/mlperf_log_detail.txt",
        "TEST01/performance/run_1/mlperf_log_summary.txt",
        "TEST01/verify_accuracy.txt",
        "TEST01/verify_performance.txt",
        "TEST04/performance/run_1/mlperf_log_detail.txt",
        "TEST04/performance/run_1/mlperf_log_summary.txt",
        "TEST04/verify_performance.txt",
        "accuracy/accuracy.txt",
        "accuracy/mlperf_log_accuracy.json",
        "accuracy/mlperf_log_detail.txt",
        "accuracy/mlperf_log_summary.txt",
        "measurements.json",
        "performance/run_1/mlperf_log_detail.txt",
        "performance/run_1/mlperf_log_summary.txt",
        "user.conf",
    ]
    assert validate(out) == []


def test_logs_are_the_records_own_and_the_accuracy_log_is_cut_under_its_hash(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    submitted(records, out)
    performance, accuracy = trees.record(records, "single_stream"), trees.record(records, "accuracy")
    for name in ("mlperf_log_detail.txt", "mlperf_log_summary.txt"):
        assert (out / SCENARIO / "performance/run_1" / name).read_bytes() == (performance / name).read_bytes()
        assert (out / SCENARIO / "accuracy" / name).read_bytes() == (accuracy / name).read_bytes()
    assert (out / SCENARIO / "user.conf").read_bytes() == (performance / "user.conf").read_bytes()
    whole = (accuracy / "mlperf_log_accuracy.json").read_bytes()
    cut = (out / SCENARIO / "accuracy/mlperf_log_accuracy.json").read_bytes()
    assert len(whole) > 60_000
    assert cut == whole[:4096] + b"\n\n...\n\n" + whole[-4096:]
    assert (out / SCENARIO / "accuracy/accuracy.txt").read_text() == (
        f"accuracy=93.000%, good=1023, total=1100\nhash={hashlib.sha256(whole).hexdigest()}\n"
    )


def test_what_the_machine_does_not_tell_is_unknown_and_never_invented(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    for path in records.rglob("record.json"):
        content = json.loads(path.read_text())
        content["result"]["fingerprint"] = {"cpu": None, "cores": None}
        path.write_text(json.dumps(content))
    out = tmp_path / "out"
    submitted(records, out)
    system = json.loads((out / "open/Example/systems/local-busy.json").read_text())
    assert len(system) == 35
    for field in ("host_processor_model_name", "host_processor_core_count", "host_memory_capacity", "cooling"):
        assert system[field] == "unknown"
    assert system["operating_system"] == "kernel unknown"
    assert system["accelerators_per_node"] == "0"
    assert system["status"] == "rdi"
    assert validate(out) == []


def test_what_a_submitter_knows_replaces_what_the_records_cannot_tell(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    submitted(records, out, status="available", system={"cooling": "passive", "host_storage_type": "SD card"})
    system = json.loads((out / "open/Example/systems/local-busy.json").read_text())
    assert (system["cooling"], system["host_storage_type"], system["status"]) == ("passive", "SD card", "available")


def test_the_sources_tell_the_commit_the_study_and_the_artifact(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    submitted(records, out)
    text = (out / "open/Example/src/README.md").read_text()
    assert "0123abc" in text
    assert "edgeproof repro fixture preset=official" in text
    assert "1" * 64 in text


def test_the_commit_is_that_of_the_working_directory(
    records: Path, tmp_path: Path, short_limit: None, project_root: Path
) -> None:
    import subprocess

    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert "no git checkout" in refusal(records, commit=None)
        return
    submitted(records, tmp_path / "out", commit=None)
    assert done.stdout.strip() in (tmp_path / "out/open/Example/src/README.md").read_text()


def test_outside_of_git_the_commit_has_to_be_named(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "Name the commit" in refusal(records, commit=None)


def test_the_first_of_several_processes_counts_and_not_the_best(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    first = trees.record(records, "single_stream")
    second = first.with_name("single_stream.1")
    shutil.copytree(first, second)
    edited(second / "record.json", process=1)
    logged(second / "mlperf_log_detail.txt", early_stopping_latency_ss=1)
    resealed(second)
    out = tmp_path / "out"
    submitted(records, out)
    taken = (out / SCENARIO / "performance/run_1/mlperf_log_detail.txt").read_bytes()
    assert taken == (first / "mlperf_log_detail.txt").read_bytes()


def test_the_null_runtime_and_what_a_runtime_cannot_do_are_left_out(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    for name, changes in (
        ("null", {"runtime": "null", "preset": "standard"}),
        ("cannot", {"verdict": "unsupported", "reasons": ["no such kernel"], "model": "other"}),
    ):
        directory = records / "local_busy" / "busy" / name / "single_stream.0"
        shutil.copytree(trees.record(records, "single_stream"), directory)
        edited(directory / "record.json", **changes)
    out = tmp_path / "out"
    submitted(records, out)
    assert [path.name for path in (out / "open/Example/results/local-busy").iterdir()] == ["small-fp32"]


def test_artifacts_can_be_named(records: Path, tmp_path: Path, short_limit: None) -> None:
    other = records / "local_busy" / "busy" / "other.int8-static"
    shutil.copytree(trees.record(records, "single_stream").parent, other)
    for path in other.rglob("record.json"):
        edited(path, model="other", scheme="int8-static", verdict="invalid", reasons=["noise"])
    out = tmp_path / "out"
    submitted(records, out, artifacts=["busy/small.*"])
    assert validate(out) == []
    assert "other.int8-static" in refusal_of(records, artifacts=["*/*"])
    assert "holds no records of tflite/x" in refusal_of(records, artifacts=["tflite/x"])


def refusal_of(records: Path, **options: Any) -> str:
    with pytest.raises(SubmissionError) as error:
        submitted(records, records.parent / "another", **options)
    return str(error.value)


def test_submitting_again_replaces_the_whole_submission(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    submitted(records, out)
    (out / "open/Example/src/old.txt").write_text("old")
    submitted(records, out, submitter="Another")
    assert [path.name for path in (out / "open").iterdir()] == ["Another"]
    assert validate(out) == []


# --- the tiny flavour ----------------------------------------------------------------------------------------------


def test_a_tiny_submission_has_what_its_checker_reads(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    files = submitted(records, out, "tiny")
    assert [path.relative_to(out).as_posix() for path in files] == [
        "open/Example/code/README.md",
        f"{TINY}/accuracy/log.txt",
        f"{TINY}/accuracy/results.json",
        f"{TINY}/accuracy/results.txt",
        f"{TINY}/performance/log.txt",
        f"{TINY}/performance/results.json",
        f"{TINY}/performance/results.txt",
        "open/Example/systems/local-busy-small-fp32.json",
    ]
    assert "edgeproof: Top 1% = 93.000\n" in (out / TINY / "accuracy/results.txt").read_text()
    timed = (out / TINY / "performance/results.txt").read_text()
    median_ns = json.loads(
        next(
            line.removeprefix(":::MLLOG ")
            for line in (out / TINY / "performance/log.txt").read_text().splitlines()
            if "result_50.00_percentile" in line
        )
    )["value"]
    assert f"Median throughput is {1e9 / median_ns:.3f} inf./sec.\n" in timed
    assert "not by the MLPerf Tiny runner" in timed
    assert validate(out) == []


@pytest.mark.parametrize(
    ("benchmark", "reason"),
    [("ic2", "ask for ic on the same system"), ("ad", "ROC"), ("sww", "streams audio"), ("nonsense", "unknown")],
)
def test_benchmarks_that_cannot_be_submitted_are_refused_with_the_reason(
    records: Path, benchmark: str, reason: str
) -> None:
    told = refusal(records, flavour="tiny", benchmark=benchmark)
    assert reason in told
    assert "kws" in told


def test_the_tiny_flavour_needs_a_single_stream_run(records: Path) -> None:
    for scenario in ("single_stream", "single_stream_test01", "single_stream_test04"):
        shutil.rmtree(trees.record(records, scenario))
    assert "has no SingleStream run" in refusal(records, flavour="tiny")


# --- refusals ------------------------------------------------------------------------------------------------------


def test_shortened_runs_make_no_submission(records: Path) -> None:
    told = refusal(records)
    assert "effective_min_duration_ms is 30; expected at least 600000" in told
    assert "preset=official" in told


def test_records_of_another_preset_are_refused_by_name_with_what_to_run(records: Path) -> None:
    for scenario in ("offline", "server"):
        edited(trees.record(records, scenario) / "record.json", preset="standard")
    edited(trees.record(records, "accuracy") / "record.json", preset=None)
    told = refusal(records)
    for scenario in ("offline", "server"):
        assert (
            f"{trees.record(records, scenario)}: was measured with the preset 'standard'; expected 'official'" in told
        )
    assert f"{trees.record(records, 'accuracy')}: was measured with the preset 'None'" in told
    assert "edgeproof repro <study> preset=official" in told


@pytest.mark.parametrize("verdict", ["invalid", "error"])
def test_records_that_are_not_valid_are_refused_with_their_reasons(records: Path, verdict: str) -> None:
    edited(trees.record(records, "offline") / "record.json", verdict=verdict, reasons=["steal", "drift"])
    assert f"{trees.record(records, 'offline')}: is {verdict}: steal; drift" in refusal(records)


def test_an_artifact_without_an_accuracy_run_is_refused(records: Path) -> None:
    shutil.rmtree(trees.record(records, "accuracy"))
    assert "local/busy/small.fp32: has no accuracy run" in refusal(records)


def test_a_compliance_run_without_its_performance_run_is_refused(records: Path) -> None:
    shutil.rmtree(trees.record(records, "single_stream"))
    told = refusal(records)
    assert "has TEST01 of SingleStream but no performance run of it" in told
    assert "has TEST04 of SingleStream but no performance run of it" in told


@pytest.mark.parametrize("name", ["mlperf_log_detail.txt", "mlperf_log_summary.txt", "user.conf"])
def test_a_missing_or_damaged_file_is_refused(records: Path, name: str) -> None:
    path = trees.record(records, "offline") / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{path.parent}: {name} is damaged" in refusal(records)
    path.unlink()
    assert f"{path.parent}: {name} is missing" in refusal(records)


@pytest.mark.parametrize("scenario", ["accuracy", "single_stream_test01"])
def test_a_run_whose_responses_were_not_kept_is_refused(records: Path, scenario: str) -> None:
    (trees.record(records, scenario) / "mlperf_log_accuracy.json").unlink()
    assert "mlperf_log_accuracy.json is missing" in refusal(records)


@pytest.mark.parametrize("key", ["artifact", "job", "result", "runner", "files", "process"])
def test_a_record_that_lacks_something_is_refused(records: Path, key: str) -> None:
    edited(trees.record(records, "offline") / "record.json", **{key: None})
    assert f"{trees.record(records, 'offline')}: record.json lacks {key}" in refusal(records)


@pytest.mark.parametrize("accuracy", [None, {}, {"correct": 5, "total": 4}, {"correct": 0, "total": 0}, "95%"])
def test_an_accuracy_run_that_was_not_scored_is_refused(records: Path, accuracy: Any) -> None:
    edited(trees.record(records, "accuracy") / "record.json", accuracy=accuracy)
    assert "lacks accuracy.correct and accuracy.total" in refusal(records)


@pytest.mark.parametrize("changes", [{"compliance": "TEST05"}, {"job": {"scenario": "Interactive", "mode": "x"}}])
def test_unknown_scenarios_and_tests_are_refused(records: Path, changes: dict[str, Any]) -> None:
    edited(trees.record(records, "offline") / "record.json", **changes)
    assert f"{trees.record(records, 'offline')}: ran " in refusal(records)


def test_runs_of_different_artifacts_are_refused(records: Path) -> None:
    path = trees.record(records, "accuracy") / "record.json"
    content = json.loads(path.read_text())
    content["artifact"]["sha256"] = "3" * 64
    path.write_text(json.dumps(content))
    told = refusal(records)
    assert "its runs are of different artifacts" in told
    assert "333333333333…" in told


def test_a_system_is_one_machine(records: Path) -> None:
    path = trees.record(records, "offline") / "record.json"
    content = json.loads(path.read_text())
    content["result"]["fingerprint"]["cpu"] = "Another processor"
    path.write_text(json.dumps(content))
    assert "differs from that of" in refusal(records)


def test_a_failed_compliance_run_is_refused(records: Path, short_limit: None) -> None:
    directory = trees.record(records, "single_stream_test04")
    logged(directory / "mlperf_log_detail.txt", early_stopping_latency_ss=10)
    resealed(directory)
    told = refusal(records)
    assert f"{directory} does not pass TEST04" in told
    assert "faster; expected at most 20%" in told


def test_nothing_to_submit_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "records"
    empty.mkdir()
    assert f"{empty} holds no records" in refusal(empty)


def test_a_damaged_record_is_an_error_with_its_path(records: Path, tmp_path: Path) -> None:
    (trees.record(records, "offline") / "record.json").write_text("{")
    with pytest.raises(ArtifactError, match="offline"):
        submitted(records, tmp_path / "out")


@pytest.mark.parametrize("submitter", ["", "..", "a/b", "a b", ".hidden", "x" * 65, "caf\u00e9", "a\n"])
def test_a_submitter_whose_name_makes_no_directory_is_refused(records: Path, submitter: str) -> None:
    assert "makes no directory's name" in refusal(records, submitter=submitter)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"status": "sold"}, "unknown status 'sold'. Known: available, preview, rdi"),
        ({"system": {"colour": "red"}}, "a system's description has no colour"),
        ({"benchmark": "bert-99"}, "unknown benchmark 'bert-99'. Known: resnet"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(records: Path, options: dict[str, Any], told: str) -> None:
    assert told in refusal(records, **options)


def test_a_directory_with_something_else_is_not_replaced(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(SubmissionError, match="holds something else"):
        submitted(records, out)
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_refused_submission_leaves_the_one_before(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    before = submitted(records, out)
    directory = trees.record(records, "offline")
    logged(directory / "mlperf_log_detail.txt", effective_qsl_rng_seed=0)
    resealed(directory)
    with pytest.raises(SubmissionError, match="effective_qsl_rng_seed is 0"):
        submitted(records, out)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    assert validate(out) == []


def test_a_refusal_can_be_caught_as_any_other_error() -> None:
    assert issubclass(SubmissionError, EdgeproofError)


def test_a_path_that_leads_nowhere_in_a_record_is_none() -> None:
    assert selection.value({"a": {"b": 1}}, ("a", "b")) == 1
    assert selection.value({"a": {"b": 1}}, ("a", "b", "c")) is None
    assert selection.value({}, ("a",)) is None
