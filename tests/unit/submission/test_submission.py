"""Writing submissions: their content, and the records that are refused with a reason."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproof.config import compose
from edgeproof.core.errors import ArtifactError, EdgeproofError
from edgeproof.records import kinds
from edgeproof.submission import rules, selection
from edgeproof.submission.checks import inference as inference_checks
from edgeproof.submission.checks import tiny as tiny_checks
from edgeproof.submission.errors import SubmissionError
from edgeproof.submission.rules import Suite
from edgeproof.submission.submit import submit
from edgeproof.submission.validate import validate
from tests.support import submission_trees as trees
from tests.support.submission_trees import SCENARIO, TINY, change_log, set_keys, update_record_hashes


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return trees.copy_records(tmp_path / "records")


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow runs as short as those of the fixtures."""
    for module in (inference_checks, tiny_checks):
        monkeypatch.setattr(module, "MIN_DURATION_MS", trees.SHORT_MS)
    monkeypatch.setattr(tiny_checks, "TINY_MIN_DURATION_MS", trees.SHORT_MS)


def submit_records(records: Path, out: Path, suite: Suite = "inference", **options: Any) -> list[Path]:
    given = {"benchmark": "ic" if suite == "tiny" else None, "submitter": "Example", "commit": "0123abc"}
    return submit(records, out, **{**given, "suite": suite, **options})


def submit_refused(records: Path, **options: Any) -> str:
    """Return the message of a refused submission, and check that it leaves no files."""
    out = records.parent / "out"
    with pytest.raises(SubmissionError) as error:
        submit_records(records, out, **options)
    assert not out.exists()
    assert not list(records.parent.glob(".*"))
    return str(error.value)


# --- runs of 600 seconds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["inference", "tiny"])
def test_a_submission_of_real_official_records_is_valid(tmp_path: Path, suite: Suite) -> None:
    records = trees.copy_records(tmp_path / "records", trees.OFFICIAL)
    out = tmp_path / "out"
    files = submit_records(records, out, suite)
    assert files
    assert validate(out) == []


# --- the inference suite -----------------------------------------------------------------------------------------


def test_a_submission_contains_every_scenario_and_compliance_run(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    files = submit_records(records, out)
    assert files == sorted(path for path in out.rglob("*") if path.is_file())
    scenarios = {path.name for path in (out / SCENARIO).parent.iterdir()}
    assert scenarios == {"SingleStream", "MultiStream", "Offline", "Server"}
    single_stream = sorted(
        path.relative_to(out / SCENARIO).as_posix() for path in files if out / SCENARIO in path.parents
    )
    assert single_stream == [
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


def test_logs_are_copied_and_the_accuracy_log_is_truncated_with_its_hash(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    submit_records(records, out)
    performance, accuracy = (
        trees.record_directory(records, "single_stream"),
        trees.record_directory(records, "accuracy"),
    )
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


def test_missing_facts_of_the_machine_are_unknown(records: Path, tmp_path: Path, short_limit: None) -> None:
    for path in records.rglob("record.json"):
        content = json.loads(path.read_text())
        content["result"]["fingerprint"] = {"cpu": None, "cores": None}
        path.write_text(json.dumps(content))
    out = tmp_path / "out"
    submit_records(records, out)
    system = json.loads((out / "open/Example/systems/local-busy.json").read_text())
    assert len(system) == 35
    for field in ("host_processor_model_name", "host_processor_core_count", "host_memory_capacity", "cooling"):
        assert system[field] == "unknown"
    assert system["operating_system"] == "kernel unknown"
    assert system["accelerators_per_node"] == "0"
    assert system["status"] == "rdi"
    assert validate(out) == []


def test_the_submitter_can_replace_fields_of_the_system(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    submit_records(records, out, status="available", system={"cooling": "passive", "host_storage_type": "SD card"})
    system = json.loads((out / "open/Example/systems/local-busy.json").read_text())
    assert (system["cooling"], system["host_storage_type"], system["status"]) == ("passive", "SD card", "available")


def test_the_readme_of_the_sources_contains_the_commit_the_study_and_the_artifact(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    out = tmp_path / "out"
    submit_records(records, out)
    text = (out / "open/Example/src/README.md").read_text()
    assert "0123abc" in text
    assert "edgeproof repro fixture preset=official" in text
    assert "1" * 64 in text


def test_the_default_commit_is_that_of_the_working_directory(
    records: Path, tmp_path: Path, short_limit: None, project_root: Path
) -> None:
    import subprocess

    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert "not a git checkout" in submit_refused(records, commit=None)
        return
    submit_records(records, tmp_path / "out", commit=None)
    assert done.stdout.strip() in (tmp_path / "out/open/Example/src/README.md").read_text()


def test_without_a_commit_submitting_outside_of_git_is_refused(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git checkout" in submit_refused(records, commit=None)


def test_the_first_of_several_processes_is_submitted_not_the_best(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    first = trees.record_directory(records, "single_stream")
    second = first.with_name("single_stream.1")
    shutil.copytree(first, second)
    set_keys(second / "record.json", process=1)
    change_log(second / "mlperf_log_detail.txt", early_stopping_latency_ss=1)
    update_record_hashes(second)
    out = tmp_path / "out"
    submit_records(records, out)
    taken = (out / SCENARIO / "performance/run_1/mlperf_log_detail.txt").read_bytes()
    assert taken == (first / "mlperf_log_detail.txt").read_bytes()


def test_records_of_the_null_runtime_and_unsupported_ones_are_skipped(
    records: Path, tmp_path: Path, short_limit: None
) -> None:
    for name, changes in (
        ("null", {"runtime": "null", "preset": "standard"}),
        ("unsupported", {"verdict": "unsupported", "reasons": ["no such kernel"], "model": "other"}),
    ):
        directory = records / "local_busy" / "busy" / name / "single_stream.0"
        shutil.copytree(trees.record_directory(records, "single_stream"), directory)
        set_keys(directory / "record.json", **changes)
    out = tmp_path / "out"
    submit_records(records, out)
    assert [path.name for path in (out / "open/Example/results/local-busy").iterdir()] == ["small-fp32"]


def test_artifacts_can_be_selected_by_patterns(records: Path, tmp_path: Path, short_limit: None) -> None:
    other = records / "local_busy" / "busy" / "other.int8-static"
    shutil.copytree(trees.record_directory(records, "single_stream").parent, other)
    for path in other.rglob("record.json"):
        set_keys(path, model="other", scheme="int8-static", verdict="invalid", reasons=["noise"])
    out = tmp_path / "out"
    submit_records(records, out, artifacts=["busy/small.*"])
    assert validate(out) == []
    assert "other.int8-static" in submit_elsewhere_refused(records, artifacts=["*/*"])
    assert "contains no records of tflite/x" in submit_elsewhere_refused(records, artifacts=["tflite/x"])


def submit_elsewhere_refused(records: Path, **options: Any) -> str:
    """Return the message of a refused submission to another directory."""
    with pytest.raises(SubmissionError) as error:
        submit_records(records, records.parent / "another", **options)
    return str(error.value)


def test_submitting_again_replaces_the_whole_submission(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    submit_records(records, out)
    (out / "open/Example/src/old.txt").write_text("old")
    submit_records(records, out, submitter="Another")
    assert [path.name for path in (out / "open").iterdir()] == ["Another"]
    assert validate(out) == []


# --- the tiny suite ----------------------------------------------------------------------------------------------


def test_a_tiny_submission_contains_what_its_checker_reads(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    files = submit_records(records, out, "tiny")
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
    performance = (out / TINY / "performance/results.txt").read_text()
    median_ns = json.loads(
        next(
            line.removeprefix(":::MLLOG ")
            for line in (out / TINY / "performance/log.txt").read_text().splitlines()
            if "result_50.00_percentile" in line
        )
    )["value"]
    assert f"Median throughput is {1e9 / median_ns:.3f} inf./sec.\n" in performance
    assert "not by the MLPerf Tiny runner" in performance
    assert validate(out) == []


def repeat_single_stream(records: Path, medians_ns: list[int]) -> None:
    """Copy the performance run, so that a process has each of the given median latencies."""
    first = trees.record_directory(records, "single_stream")
    for process, median_ns in reversed(list(enumerate(medians_ns))):
        directory = first.with_name(f"single_stream.{process}")
        if process:
            shutil.copytree(first, directory)
        change_log(directory / "mlperf_log_detail.txt", **{"result_50.00_percentile_latency_ns": median_ns})
        update_record_hashes(directory)
        set_keys(directory / "record.json", process=process)


def test_the_run_with_the_median_latency_of_five_is_submitted(records: Path, tmp_path: Path, short_limit: None) -> None:
    repeat_single_stream(records, [50_000, 90_000, 20_000, 70_000, 60_000])
    out = tmp_path / "out"
    submit_records(records, out, "tiny")
    text = (out / TINY / "performance/results.txt").read_text()
    assert "Median latency is 60.000 us" in text
    assert "Median throughput is 16666.667 inf./sec." in text
    assert re.findall(r"Latency of run (\d) is ([\d.]+) us", text) == [
        ("1", "50.000"), ("2", "90.000"), ("3", "20.000"), ("4", "70.000"), ("5", "60.000"),
    ]  # fmt: skip
    log = (trees.record_directory(records, "single_stream").with_name("single_stream.4")) / "mlperf_log_detail.txt"
    assert (out / TINY / "performance/log.txt").read_bytes() == log.read_bytes()
    assert validate(out) == []


def test_one_of_five_runs_of_another_artifact_is_refused(records: Path, short_limit: None) -> None:
    repeat_single_stream(records, [50_000] * 5)
    path = trees.record_directory(records, "single_stream").with_name("single_stream.3") / "record.json"
    artifact = json.loads(path.read_text())["artifact"]
    set_keys(path, artifact={**artifact, "sha256": "3" * 64})
    assert "its runs have different artifacts" in submit_refused(records, suite="tiny")


def test_only_the_tiny_suite_accepts_its_own_preset(records: Path, tmp_path: Path, short_limit: None) -> None:
    repeat_single_stream(records, [50_000] * 5)
    for path in records.rglob("record.json"):
        set_keys(path, preset="official_tiny")
    assert "preset 'official_tiny'; expected 'official'" in submit_refused(records)
    assert submit_records(records, tmp_path / "tiny", "tiny")
    readme = (tmp_path / "tiny/open/Example/code/README.md").read_text()
    assert "edgeproof repro fixture preset=official_tiny\n" in readme


def test_fewer_than_five_runs_of_ten_seconds_are_refused(records: Path, short_limit: None) -> None:
    repeat_single_stream(records, [50_000] * 4)
    for path in records.rglob("record.json"):
        set_keys(path, preset="official_tiny")
    assert "has 4 SingleStream run(s); expected 5, whose median is submitted" in submit_refused(records, suite="tiny")


def test_runs_of_several_sessions_are_refused_in_the_tiny_suite(records: Path, short_limit: None) -> None:
    shutil.copytree(records / "local_busy", records / "another")
    assert "has runs of several sessions; name the directory of one" in submit_refused(records, suite="tiny")


def test_the_last_attempt_of_a_disturbed_run_counts(records: Path, tmp_path: Path, short_limit: None) -> None:
    first = trees.record_directory(records, "single_stream")
    again = first.with_name("single_stream.0.again1")
    shutil.copytree(first, again)
    identity = {"schema": 3, "session_id": "session 1", "commit": None}
    set_keys(again / "record.json", **identity, attempt=1)
    set_keys(first / "record.json", **identity, attempt=0, verdict="invalid", reasons=["steal"])
    for suite in ("inference", "tiny"):
        assert submit_records(records, tmp_path / suite, suite)  # type: ignore[arg-type]
    set_keys(first / "record.json", verdict="valid")
    set_keys(again / "record.json", verdict="invalid", reasons=["steal"])
    assert "single_stream.0.again1: is invalid: steal" in submit_refused(records)


def test_runs_that_the_tiny_suite_does_not_read_do_not_matter(records: Path, tmp_path: Path, short_limit: None) -> None:
    for name in ("server", "offline", "single_stream_test01"):
        set_keys(trees.record_directory(records, name) / "record.json", verdict="invalid", reasons=["steal"])
    assert submit_records(records, tmp_path / "tiny", "tiny")
    assert "3 records" in submit_refused(records)


@pytest.mark.parametrize(("name", "changed", "problem"), [
    ("results.txt", ("Latency of run 5 ", "Latency of run five "), "has 4 lines 'Latency of run'; expected 5"),
    ("results.txt", ("run 4 is 70.000", "run 4 is 10.000"), "the median of its runs is 50.0 us"),
])  # fmt: skip
def test_the_median_of_short_runs_is_checked(
    records: Path, tmp_path: Path, name: str, changed: tuple[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_checks, "TINY_MIN_DURATION_MS", trees.SHORT_MS)
    repeat_single_stream(records, [50_000, 90_000, 20_000, 70_000, 60_000])
    out = tmp_path / "out"
    submit_records(records, out, "tiny")
    trees.replace_text(out / TINY / "performance" / name, *changed)
    assert any(problem in line for line in validate(out))


def test_the_preset_of_the_tiny_suite_keeps_its_rules() -> None:
    params = compose.compose("digits", ["preset=official_tiny"])
    for session in params.bench.values():
        assert session.preset in kinds.OFFICIAL_PRESETS  # whose accuracy logs are kept
        assert session.processes == rules.TINY_RUNS
        assert session.every["single_stream"].settings.min_duration_ms == rules.TINY_MIN_DURATION_MS
        assert session.compliance == []


def test_the_tiny_suite_names_its_own_preset(records: Path) -> None:
    set_keys(trees.record_directory(records, "single_stream") / "record.json", preset="quick")
    message = submit_refused(records, suite="tiny")
    assert "expected 'official_tiny' or 'official'" in message
    assert "preset=official_tiny" in message


@pytest.mark.parametrize(("duration_ms", "problems"), [(9_000, 1), (10_000, 0)])
def test_a_run_of_the_tiny_suite_lasts_ten_seconds(tmp_path: Path, duration_ms: int, problems: int) -> None:
    records = trees.copy_records(tmp_path / "records", trees.OFFICIAL)
    out = tmp_path / "out"
    submit_records(records, out, "tiny")
    (log,) = out.rglob("performance/log.txt")
    change_log(log, effective_min_duration_ms=duration_ms)
    refused = [line for line in validate(out) if "effective_min_duration_ms" in line]
    assert len(refused) == problems
    assert all("expected at least 10000" in line for line in refused)


@pytest.mark.parametrize(
    ("benchmark", "reason"),
    [("ic2", "require ic on the same system"), ("ad", "ROC"), ("sww", "streams audio"), ("nonsense", "unknown")],
)
def test_a_benchmark_that_cannot_be_submitted_is_refused_with_the_reason(
    records: Path, benchmark: str, reason: str
) -> None:
    message = submit_refused(records, suite="tiny", benchmark=benchmark)
    assert reason in message
    assert "kws" in message


def give_quality(records: Path, **changes: Any) -> None:
    """Give the accuracy run another quality, as a record of schema 3 has it."""
    quality = {"metric": "auc", "label": "AUC", "unit": "", "scale": 1.0, "digits": 3, "better": "more"}
    quality |= {"interval": "bootstrap", "value": 0.8767, "low": 0.86, "high": 0.89, "units": 220, **changes}
    identity = {"schema": 3, "session_id": "session 1", "attempt": 0, "commit": None}
    set_keys(trees.record_directory(records, "accuracy") / "record.json", **identity, quality=quality)


def test_an_area_under_the_roc_curve_is_submitted_to_ad(records: Path, tmp_path: Path, short_limit: None) -> None:
    give_quality(records)
    out = tmp_path / "submission"
    submit_records(records, out, "tiny", benchmark="ad")
    directory = (out / TINY).with_name("ad") / "accuracy"
    text = (directory / "results.txt").read_text()
    # The pattern of the official checker, ACC_PATTERN["auc"] in tools/submission/submission_checker.py.
    assert re.search(r".* AUC\s?[:=] ([\d\.]+).*", text)[1] == "0.877"  # type: ignore[index]
    assert "Top 1%" not in text
    assert json.loads((directory / "results.json").read_text())["auc"] == 0.8767
    assert validate(out) == []
    for name, old, new in (("results.txt", "0.877", "0.88"), ("results.json", "0.8767", "8.767")):
        trees.replace_text(directory / name, old, new)
        assert any(name in problem for problem in validate(out))
        trees.replace_text(directory / name, new, old)


@pytest.mark.parametrize(("suite", "benchmark"), [("inference", "resnet"), ("tiny", "ic")])
def test_a_quality_that_is_no_accuracy_is_refused_with_the_possible_benchmarks(
    records: Path, suite: Suite, benchmark: str
) -> None:
    give_quality(records, metric="rmse", label="RMSE", better="less")
    message = submit_refused(records, suite=suite, benchmark=benchmark)
    assert f"its quality is RMSE, but MLPerf scores '{benchmark}' by top-1 accuracy" in message
    assert "ad for AUC" in message


def test_the_tiny_suite_needs_a_single_stream_run(records: Path) -> None:
    for scenario in ("single_stream", "single_stream_test01", "single_stream_test04"):
        shutil.rmtree(trees.record_directory(records, scenario))
    assert "has no SingleStream run" in submit_refused(records, suite="tiny")


# --- refusals ------------------------------------------------------------------------------------------------------


def test_shortened_runs_are_refused(records: Path) -> None:
    message = submit_refused(records)
    assert "effective_min_duration_ms is 30; expected at least 600000" in message
    assert "preset=official" in message


def test_records_of_another_preset_are_refused_with_the_command_to_run(records: Path) -> None:
    for scenario in ("offline", "server"):
        set_keys(trees.record_directory(records, scenario) / "record.json", preset="standard")
    set_keys(trees.record_directory(records, "accuracy") / "record.json", preset=None)
    message = submit_refused(records)
    reason = "was measured with the preset 'standard'; expected 'official'"
    assert f"2 records: {reason} (first: {trees.record_directory(records, 'offline')})" in message
    assert f"{trees.record_directory(records, 'accuracy')}: was measured with the preset 'None'" in message
    assert "edgeproof repro <study> preset=official" in message


def test_many_records_refused_for_the_same_reason_are_one_line(records: Path) -> None:
    for number in range(60):
        target = records / "local_busy" / "busy" / "small.fp32" / f"offline.{number + 1}"
        shutil.copytree(trees.record_directory(records, "offline"), target)
        verdict = {"preset": "quick"} if number % 2 else {"verdict": "invalid", "reasons": [f"steal {number}%"]}
        set_keys(target / "record.json", **verdict)
    lines = submit_refused(records).splitlines()
    assert len(lines) <= 10
    assert any(line.startswith("  - 30 records: was measured with the preset 'quick'") for line in lines)
    assert any(line.startswith("  - 30 records: is invalid (first: ") and "steal 0%" in line for line in lines)


def test_many_different_reasons_are_counted_beyond_the_first_ones(records: Path) -> None:
    for number in range(20):
        target = records / "local_busy" / "busy" / "small.fp32" / f"offline.{number + 1}"
        shutil.copytree(trees.record_directory(records, "offline"), target)
        set_keys(target / "record.json", preset=f"own_{number}")
    lines = submit_refused(records).splitlines()
    assert len(lines) <= 10
    assert "  - … and 13 other reason(s)" in lines


def test_an_invalid_submission_lists_at_most_ten_lines(records: Path) -> None:
    assert len(submit_refused(records).splitlines()) <= 10


def test_the_tiny_suite_asks_for_the_benchmark(records: Path) -> None:
    message = submit_refused(records, suite="tiny", benchmark=None)
    assert all(f"{name} (" in message for name in ("ic", "kws", "vww"))
    assert "--benchmark" in message


@pytest.mark.parametrize("verdict", ["invalid", "error"])
def test_records_that_are_not_valid_are_refused_with_their_reasons(records: Path, verdict: str) -> None:
    set_keys(trees.record_directory(records, "offline") / "record.json", verdict=verdict, reasons=["steal", "drift"])
    assert f"{trees.record_directory(records, 'offline')}: is {verdict}: steal; drift" in submit_refused(records)


def test_an_artifact_without_an_accuracy_run_is_refused(records: Path) -> None:
    shutil.rmtree(trees.record_directory(records, "accuracy"))
    assert "local/busy/small.fp32: has no accuracy run" in submit_refused(records)


def test_a_compliance_run_without_its_performance_run_is_refused(records: Path) -> None:
    shutil.rmtree(trees.record_directory(records, "single_stream"))
    message = submit_refused(records)
    assert "has TEST01 of SingleStream but no performance run of it" in message
    assert "has TEST04 of SingleStream but no performance run of it" in message


@pytest.mark.parametrize("name", ["mlperf_log_detail.txt", "mlperf_log_summary.txt", "user.conf"])
def test_a_missing_or_damaged_file_is_refused(records: Path, name: str) -> None:
    path = trees.record_directory(records, "offline") / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{path.parent}: {name} is damaged" in submit_refused(records)
    path.unlink()
    assert f"{path.parent}: {name} is missing" in submit_refused(records)


@pytest.mark.parametrize("scenario", ["accuracy", "single_stream_test01"])
def test_a_run_without_its_responses_is_refused(records: Path, scenario: str) -> None:
    (trees.record_directory(records, scenario) / "mlperf_log_accuracy.json").unlink()
    assert "mlperf_log_accuracy.json is missing" in submit_refused(records)


@pytest.mark.parametrize("key", ["artifact", "job", "result", "runner", "files", "process"])
def test_a_record_that_lacks_a_key_is_refused(records: Path, key: str) -> None:
    set_keys(trees.record_directory(records, "offline") / "record.json", **{key: None})
    assert f"{trees.record_directory(records, 'offline')}: record.json lacks {key}" in submit_refused(records)


@pytest.mark.parametrize("accuracy", [None, {}, {"correct": 5, "total": 4}, {"correct": 0, "total": 0}, "95%"])
def test_an_accuracy_run_without_a_score_is_refused(records: Path, accuracy: Any) -> None:
    set_keys(trees.record_directory(records, "accuracy") / "record.json", accuracy=accuracy)
    assert "lacks a quality" in submit_refused(records)


@pytest.mark.parametrize("changes", [{"compliance": "TEST05"}, {"job": {"scenario": "Interactive", "mode": "x"}}])
def test_unknown_scenarios_and_tests_are_refused(records: Path, changes: dict[str, Any]) -> None:
    set_keys(trees.record_directory(records, "offline") / "record.json", **changes)
    assert f"{trees.record_directory(records, 'offline')}: ran " in submit_refused(records)


def test_runs_of_different_artifacts_are_refused(records: Path) -> None:
    path = trees.record_directory(records, "accuracy") / "record.json"
    content = json.loads(path.read_text())
    content["artifact"]["sha256"] = "3" * 64
    path.write_text(json.dumps(content))
    message = submit_refused(records)
    assert "its runs have different artifacts" in message
    assert "333333333333…" in message


def test_records_of_a_system_from_different_machines_are_refused(records: Path) -> None:
    path = trees.record_directory(records, "offline") / "record.json"
    content = json.loads(path.read_text())
    content["result"]["fingerprint"]["cpu"] = "Another processor"
    path.write_text(json.dumps(content))
    assert "differs from that of" in submit_refused(records)


def test_a_failed_compliance_run_is_refused(records: Path, short_limit: None) -> None:
    directory = trees.record_directory(records, "single_stream_test04")
    change_log(directory / "mlperf_log_detail.txt", early_stopping_latency_ss=10)
    update_record_hashes(directory)
    message = submit_refused(records)
    assert f"{directory} fails TEST04" in message
    assert "faster; expected at most 20%" in message


def test_a_directory_without_records_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "records"
    empty.mkdir()
    assert f"{empty} contains no records" in submit_refused(empty)


def test_a_damaged_record_raises_an_error_with_its_path(records: Path, tmp_path: Path) -> None:
    (trees.record_directory(records, "offline") / "record.json").write_text("{")
    with pytest.raises(ArtifactError, match="offline"):
        submit_records(records, tmp_path / "out")


@pytest.mark.parametrize("submitter", ["", "..", "a/b", "a b", ".hidden", "x" * 65, "caf\u00e9", "a\n"])
def test_a_submitter_that_cannot_be_a_directory_name_is_refused(records: Path, submitter: str) -> None:
    assert "cannot be a directory's name" in submit_refused(records, submitter=submitter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"status": "sold"}, "unknown status 'sold'. Known: available, preview, rdi"),
        ({"system": {"colour": "red"}}, "a system description has no colour"),
        ({"benchmark": "bert-99"}, "unknown benchmark 'bert-99'. Known: resnet"),
    ],
)
def test_unknown_values_are_refused_with_the_known_ones(records: Path, options: dict[str, Any], message: str) -> None:
    assert message in submit_refused(records, **options)


def test_a_directory_with_other_files_is_not_replaced(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(SubmissionError, match="contains something other"):
        submit_records(records, out)
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_refused_submission_keeps_the_previous_one(records: Path, tmp_path: Path, short_limit: None) -> None:
    out = tmp_path / "out"
    before = submit_records(records, out)
    directory = trees.record_directory(records, "offline")
    change_log(directory / "mlperf_log_detail.txt", effective_qsl_rng_seed=0)
    update_record_hashes(directory)
    with pytest.raises(SubmissionError, match="effective_qsl_rng_seed is 0"):
        submit_records(records, out)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    assert validate(out) == []


def test_a_submission_error_is_an_edgeproof_error() -> None:
    assert issubclass(SubmissionError, EdgeproofError)


def test_a_missing_path_in_a_record_gives_none() -> None:
    assert selection.get_value({"a": {"b": 1}}, ("a", "b")) == 1
    assert selection.get_value({"a": {"b": 1}}, ("a", "b", "c")) is None
    assert selection.get_value({}, ("a",)) is None
