"""Validation of submissions: every problem is reported, and no content of a file raises an exception."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.submission import logs
from edgeproof.submission.checks import inference as inference_checks
from edgeproof.submission.checks import tiny as tiny_checks
from edgeproof.submission.rules import Suite
from edgeproof.submission.validate import validate
from tests.support import submission_trees as trees
from tests.support.submission_trees import (
    MEASUREMENTS,
    PERFORMANCE,
    SCENARIO,
    TINY,
    change_log,
    replace_text,
    set_keys,
    update_origins,
)

TEST01, TEST04 = f"{SCENARIO}/TEST01", f"{SCENARIO}/TEST04"
ACCURACY = f"{SCENARIO}/accuracy"
SYSTEM = "open/Example/systems/local-busy.json"
MAPPING = "open/Example/model_mapping.json"


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Submissions of the short records in both suites, written once, with the records."""
    root = tmp_path_factory.mktemp("submissions")
    records = trees.copy_records(root / "records")
    suites: tuple[Suite, ...] = ("inference", "tiny")
    for suite in suites:
        trees.write_tree(root / suite, records, suite)
    return root


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow runs as short as those of the fixtures, which then have no problem."""
    for module in (inference_checks, tiny_checks):
        monkeypatch.setattr(module, "MIN_DURATION_MS", trees.SHORT_MS)
    monkeypatch.setattr(tiny_checks, "TINY_MIN_DURATION_MS", trees.SHORT_MS)


@pytest.fixture
def root(submissions: Path, tmp_path: Path, short_limit: None) -> Path:
    """Return a valid submission of the inference suite."""
    return Path(shutil.copytree(submissions / "inference", tmp_path / "root"))


@pytest.fixture
def tiny(submissions: Path, tmp_path: Path, short_limit: None) -> Path:
    """Return a valid submission of the tiny suite."""
    return Path(shutil.copytree(submissions / "tiny", tmp_path / "tiny"))


def assert_only(problems: list[str], file: str, *fragments: str) -> None:
    """Assert that there is exactly one problem, that of the file, and that it contains the fragments."""
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{file}: "), problems[0]
    for fragment in fragments:
        assert fragment in problems[0]


def is_printable(problems: list[str]) -> bool:
    """Return True if a terminal can show every problem on one line."""
    return all(line.encode("utf-8") and line.isprintable() and ": " in line for line in problems)


# --- length --------------------------------------------------------------------------------------------------------


def test_a_valid_submission_is_accepted(root: Path, tiny: Path) -> None:
    assert validate(root) == []
    assert validate(tiny) == []


def test_a_shortened_run_is_reported_by_its_settings_and_by_its_duration(submissions: Path) -> None:
    problems = validate(submissions / "inference")
    single_stream = [line for line in problems if line.startswith(f"{PERFORMANCE}: ")]
    assert len(single_stream) == 3
    assert "effective_min_duration_ms is 30; expected at least 600000" in single_stream[0]
    assert all("the run lasted 0.03" in line and "expected at least 600 s" in line for line in single_stream[1:])
    files = {line.partition(": ")[0] for line in problems}
    detail_logs = {
        path.relative_to(submissions / "inference").as_posix()
        for path in (submissions / "inference").rglob("run_1/mlperf_log_detail.txt")
    }
    assert files == detail_logs
    assert len(files) == 6


def test_a_shortened_run_is_reported_in_the_tiny_suite(submissions: Path) -> None:
    *problems, repetitions = validate(submissions / "tiny")
    assert len(problems) == 3
    assert all(line.startswith(f"{TINY}/performance/log.txt: ") for line in problems)
    assert repetitions == (
        f"{TINY}/performance/results.txt: has 1 lines 'Latency of run'; expected 5 for runs below 600 s"
    )


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Offline", "Server"])
def test_a_short_run_that_states_600_seconds_is_reported(
    root: Path, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SCENARIO.replace("SingleStream", scenario)
    shutil.rmtree(root / TEST01)
    shutil.rmtree(root / TEST04)
    set_keys(
        root / MEASUREMENTS, runs={run: origin for run, origin in _read_origins(root).items() if run[:4] != "TEST"}
    )
    for other in {"SingleStream", "MultiStream", "Offline", "Server"} - {scenario}:
        shutil.rmtree(root / SCENARIO.replace("SingleStream", other))
    path = root / directory / "performance/run_1/mlperf_log_detail.txt"
    wanted = 600_000
    asked = "100" if scenario == "Server" else "30"
    change_log(path, effective_min_duration_ms=wanted, requested_min_duration_ms=wanted)
    replace_text(root / directory / "performance/run_1/mlperf_log_summary.txt", f"(ms): {asked}\n", f"(ms): {wanted}\n")
    replace_text(root / directory / "user.conf", f"min_duration = {asked}\n", f"min_duration = {wanted}\n")
    update_origins(root, directory)
    monkeypatch.setattr(inference_checks, "MIN_DURATION_MS", wanted)
    problems = validate(root)
    assert len(problems) == (1 if scenario == "MultiStream" else 2)
    assert all("the run lasted 0." in line for line in problems)


# --- the run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("result_validity", "INVALID", "'VALID'"),
        ("effective_scenario", "Offline", "'SingleStream'"),
        ("effective_test_mode", "AccuracyOnly", "'PerformanceOnly'"),
        ("effective_test_mode", "FindPeakPerformance", "'PerformanceOnly'"),
        ("result_min_duration_met", False, "True"),
        ("result_min_queries_met", False, "True"),
        ("result_min_queries_met", 1, "True"),
        ("early_stopping_met", False, "True"),
        ("early_stopping_met", None, "True"),
        ("num_errors", 1, "0"),
        ("effective_qsl_rng_seed", 0, "2085463073848966840"),
        ("effective_sample_index_rng_seed", 0, "2747215439041700203"),
        ("effective_schedule_rng_seed", 16159082839903944935, "16159082839903944936"),
        ("effective_accuracy_log_sampling_target", 4096, "0"),
        ("effective_performance_issue_same", True, "False"),
        ("effective_performance_issue_unique", True, "False"),
        ("effective_sample_concatenate_permutation", True, "False"),
        ("effective_max_duration_ms", 1000, "0"),
        ("effective_max_query_count", 1000, "0"),
        ("effective_target_latency_percentile", 0.5, "0.9"),
        ("effective_samples_per_query", 8, "1"),
        ("effective_performance_sample_count", 100, "at least 1024"),
        ("effective_min_duration_ms", 28, "at least 29"),
        ("early_stopping_latency_ss", 0, "above 0"),
    ],
)
def test_every_setting_and_result_of_a_performance_run_is_checked(
    root: Path, key: str, value: Any, expected: str
) -> None:
    change_log(root / PERFORMANCE, **{key: value})
    update_origins(root)
    log_problems = [line for line in validate(root) if line.startswith(f"{PERFORMANCE}: {key} is ")]
    assert len(log_problems) == 1
    assert log_problems[0].endswith(f"expected {expected}" if "above" not in expected else "expected a number above 0")


@pytest.mark.parametrize("count", [10, "1181", None, -1, float("nan"), 1e400, 2**70])
def test_too_few_queries_and_invalid_counts_are_reported(root: Path, count: Any) -> None:
    change_log(root / PERFORMANCE, result_query_count=count)
    update_origins(root)
    assert any(f"{PERFORMANCE}: result_query_count is" in line for line in validate(root))


@pytest.mark.parametrize(
    ("scenario", "key", "value", "expected"),
    [
        ("MultiStream", "effective_samples_per_query", 1, "8"),
        ("MultiStream", "result_query_count", 661, "at least 662"),
        ("Offline", "effective_samples_per_query", 1000, "at least 1100"),
        ("Server", "effective_target_latency_ns", 15_000_001, "at most 15000000"),
        ("Server", "result_perf_constraints_met", False, "True"),
        ("Server", "result_query_count", 458, "at least 459"),
    ],
)
def test_the_rules_of_each_scenario_are_checked(root: Path, scenario: str, key: str, value: Any, expected: str) -> None:
    directory = SCENARIO.replace("SingleStream", scenario)
    path = f"{directory}/performance/run_1/mlperf_log_detail.txt"
    change_log(root / path, **{key: value})
    update_origins(root, directory)
    assert f"{path}: {key} is {value}; expected {expected}" in validate(root)


def test_an_error_of_loadgen_is_reported(root: Path) -> None:
    path = root / PERFORMANCE
    first, rest = path.read_text().split("\n", 1)
    error = json.loads(first.removeprefix(":::MLLOG ")) | {"key": "error_runtime", "value": "clocks differ"}
    error["metadata"]["is_error"] = True
    path.write_text(f"{first}\n:::MLLOG {json.dumps(error)}\n{rest}")
    update_origins(root)
    assert_only(validate(root), PERFORMANCE, "LoadGen reports an error", "error_runtime", "clocks differ")


def test_a_key_with_two_values_is_reported(root: Path) -> None:
    path = root / PERFORMANCE
    line = next(line for line in path.read_text().splitlines() if "result_query_count" in line)
    path.write_text(path.read_text() + line.replace('"value": ', '"value": 9') + "\n")
    update_origins(root)
    assert_only(validate(root), PERFORMANCE, "repeats 'result_query_count' with another value")


def test_a_summary_that_disagrees_with_the_detail_log_is_reported(root: Path) -> None:
    summary = f"{SCENARIO}/performance/run_1/mlperf_log_summary.txt"
    replace_text(root / summary, "Result is : VALID", "Result is : INVALID")
    update_origins(root)
    assert_only(validate(root), summary, "'Result is' is 'INVALID'", "expected 'VALID'")


def test_an_incomplete_summary_is_reported(root: Path) -> None:
    summary = f"{ACCURACY}/mlperf_log_summary.txt"
    replace_text(root / summary, "No errors encountered during test.", "No")
    update_origins(root)
    assert_only(validate(root), summary, "No errors encountered")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("effective_test_mode", "PerformanceOnly", "AccuracyOnly"),
        ("effective_qsl_rng_seed", 7, "2085463073848966840"),
        ("requested_accuracy_sample_count_override", 10, "0"),
        ("loadgen_version", "5.0.1", "6.0.17"),
        ("sut_name", "Another", "PyFastSUT"),
    ],
)
def test_every_setting_of_an_accuracy_run_is_checked(root: Path, key: str, value: Any, expected: str) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    change_log(root / path, **{key: value})
    update_origins(root)
    assert_only(validate(root), path, f"{key} is {logs.quote(value)}", expected)


def test_an_accuracy_run_over_part_of_the_data_is_reported(root: Path) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    change_log(root / path, effective_accuracy_sample_count=100)
    update_origins(root)
    problems = validate(root)
    assert f"{path}: effective_accuracy_sample_count is 100; expected 1100 as qsl_reported_total_count" in problems
    assert (
        f"{ACCURACY}/accuracy.txt: total is 1100; expected 100, the number of samples of the accuracy run" in problems
    )


def test_an_accuracy_run_over_another_data_set_is_reported(root: Path) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    change_log(root / path, effective_accuracy_sample_count=2000, qsl_reported_total_count=2000)
    update_origins(root)
    assert f"{path}: qsl_reported_total_count is 2000; expected 1100 as in the performance run" in validate(root)


# --- accuracy and the origins of runs --------------------------------------------------------------------------------


def test_runs_of_different_artifacts_are_reported(root: Path) -> None:
    origins = _read_origins(root)
    origins["accuracy"]["artifact_sha256"] = "3" * 64
    set_keys(root / MEASUREMENTS, runs=origins)
    assert_only(validate(root), MEASUREMENTS, "different artifacts", "333", "111")


def test_scenarios_of_different_artifacts_are_reported(root: Path) -> None:
    origins = _read_origins(root)
    for origin in origins.values():
        origin["artifact_sha256"] = "3" * 64
    set_keys(root / MEASUREMENTS, runs=origins)
    assert_only(validate(root), SCENARIO.removesuffix("/SingleStream"), "different artifacts", "SingleStream '333")


def test_runs_of_different_artifacts_are_reported_in_the_tiny_suite(tiny: Path) -> None:
    set_keys(tiny / TINY / "accuracy/results.json", artifact_sha256="3" * 64)
    assert_only(validate(tiny), TINY, "different artifacts")


def test_an_accuracy_run_swapped_for_that_of_another_artifact_is_reported(root: Path) -> None:
    # The files of another run are valid by themselves.
    path = root / ACCURACY / "mlperf_log_detail.txt"
    path.write_text(path.read_text().replace("2026-11-22", "2026-11-23"))
    assert_only(validate(root), MEASUREMENTS, "mlperf_log_detail.txt of runs.accuracy has the sha256")


@pytest.mark.parametrize("origins", [None, [], {}, {"performance": {}}, "all"])
def test_measurements_without_the_origins_of_the_runs_are_reported(root: Path, origins: Any) -> None:
    set_keys(root / MEASUREMENTS, runs=origins)
    assert any(line.startswith(f"{MEASUREMENTS}: runs is ") for line in validate(root))


@pytest.mark.parametrize("field", ["weight_data_types", "retraining", "input_data_types"])
@pytest.mark.parametrize("value", [None, "", " ", 8, []])
def test_required_fields_of_measurements_are_checked(root: Path, field: str, value: Any) -> None:
    set_keys(root / MEASUREMENTS, **{field: value})
    assert_only(validate(root), MEASUREMENTS, f"{field} is", "expected a text")


def test_a_truncated_accuracy_log_without_a_hash_is_reported(root: Path) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(path.read_text().partition("hash=")[0])
    problems = validate(root)
    assert len(problems) == 2
    assert problems[0].startswith(f"{ACCURACY}/accuracy.txt: has 0 lines 'hash=<sha256>'")
    assert problems[1].startswith(f"{ACCURACY}/mlperf_log_accuracy.json: is truncated, and accuracy.txt has no hash")


@pytest.mark.parametrize("wrong", ["0" * 64, "A" * 64, "1234"])
def test_a_wrong_hash_is_reported(root: Path, wrong: str) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{path.read_text().partition('hash=')[0]}hash={wrong}\n")
    assert any(line.startswith(f"{ACCURACY}/accuracy.txt: ") for line in validate(root))


def test_the_hash_of_the_truncated_log_is_reported(root: Path) -> None:
    cut = hashlib.sha256((root / ACCURACY / "mlperf_log_accuracy.json").read_bytes()).hexdigest()
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{path.read_text().partition('hash=')[0]}hash={cut}\n")
    problems = validate(root)
    assert any("has the hash of the truncated log; expected that of the complete log" in line for line in problems)


def test_a_complete_accuracy_log_that_is_too_long_is_reported(root: Path, submissions: Path) -> None:
    whole = trees.record_directory(submissions / "records", "accuracy") / "mlperf_log_accuracy.json"
    shutil.copyfile(whole, root / ACCURACY / "mlperf_log_accuracy.json")
    assert_only(
        validate(root), f"{ACCURACY}/mlperf_log_accuracy.json", "expected at most 10240, with the middle cut out"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[\n{", "{"),
        ("\n]\n", "\n"),
        ('"qsl_idx" : 296', '"qsl_idx" : "x"'),
        ("\n\n...\n\n", "\n\n...\n\n "),
        (" }\n]", " }}\n]"),
    ],
)
def test_other_lines_in_a_truncated_accuracy_log_are_reported(root: Path, old: str, new: str) -> None:
    replace_text(root / ACCURACY / "mlperf_log_accuracy.json", old, new)
    problems = validate(root)
    assert problems
    assert all(line.startswith(f"{ACCURACY}/mlperf_log_accuracy.json: ") for line in problems)


def test_a_short_accuracy_log_must_be_complete_and_match_its_hash(root: Path) -> None:
    path = root / ACCURACY / "mlperf_log_accuracy.json"
    path.write_text('[{"seq_id": 0, "qsl_idx": 0, "data": "00"}]\n')
    problems = validate(root)
    assert len(problems) == 2
    assert "has the sha256" in problems[0]
    assert "has responses to 1 samples; expected 1100" in problems[1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("accuracy=94.000%, good=1023, total=1100", "expected the percentage of the counts"),
        ("accuracy=93.000%, good=930, total=1000", "total is 1000; expected 1100"),
        ("accuracy=200.000%, good=2200, total=1100", "expected the percentage of the counts"),
        ("accuracy=0.000%, good=0, total=0", "expected the percentage of the counts"),
        ("accuracy=93%", "has 0 lines with an accuracy"),
        ("", "has 0 lines with an accuracy"),
    ],
)
def test_the_accuracy_must_match_the_counts_over_the_whole_data(root: Path, line: str, problem: str) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{line}\nhash={path.read_text().partition('hash=')[2]}")
    assert any(line.startswith(f"{ACCURACY}/accuracy.txt: ") and problem in line for line in validate(root))


# --- user.conf -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("*.SingleStream.min_duration = 10", "requested_min_duration_ms = 30"),
        ("*.SingleStream.target_latency = 0.02", "requested_single_stream_expected_latency_ns = 15000"),
        ("*.*.qsl_rng_seed = 1", "may not be set by a submitter"),
        ("*.*.mode = 2", "may not be set by a submitter"),
        ("*.*.performance_issue_same = 1", "may not be set by a submitter"),
        ("*.SingleStream.target_latency_percentile = 50", "may not be set by a submitter"),
        ("*.SingleStream.max_duration = 10", "may not be set by a submitter"),
        ("min_duration = 10", "cannot be read"),
        ("*.SingleStream.min_duration = ten", "cannot be read"),
        ("*.SingleStream.min_duration 10", "cannot be read"),
        ("*.SingleStream.target_latency = 1e305", "expected the value that LoadGen used"),
        ("*.SingleStream.target_latency = nan", "cannot be read"),
    ],
)
def test_user_conf_may_contain_only_allowed_settings_that_were_used(root: Path, line: str, problem: str) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text(f"{path.read_text()}{line}\n")
    update_origins(root)
    assert_only(validate(root), f"{SCENARIO}/user.conf", "line 3", problem)


def test_a_missing_setting_in_user_conf_is_reported(root: Path) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text("# nothing\n")
    update_origins(root)
    assert_only(validate(root), f"{SCENARIO}/user.conf", "does not set target_latency of SingleStream")


def test_user_conf_may_contain_comments_and_settings_of_other_scenarios(root: Path) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text(f"# settings\n\n{path.read_text()}resnet50.Server.target_qps = 100 # of another run\n")
    update_origins(root)
    assert validate(root) == []


# --- compliance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [f"{TEST01}/verify_accuracy.txt", f"{TEST04}/verify_performance.txt"])
@pytest.mark.parametrize("text", ["TEST FAIL\n", "TEST PASS\nTEST FAIL: no\n", "nothing\n"])
def test_a_failed_compliance_test_is_reported(root: Path, file: str, text: str) -> None:
    (root / file).write_text(text)
    assert_only(validate(root), file, "TEST PASS")


@pytest.mark.parametrize(
    ("test", "key", "value"),
    [
        (TEST01, "effective_accuracy_log_sampling_target", 0),
        (TEST01, "effective_accuracy_log_rng_seed", 1),
        (TEST01, "effective_schedule_rng_seed", 1),
        (TEST01, "result_validity", "INVALID"),
        (TEST04, "effective_performance_issue_same", False),
        (TEST04, "effective_performance_issue_same_index", 0),
    ],
)
def test_a_compliance_run_without_its_audit_is_reported(root: Path, test: str, key: str, value: Any) -> None:
    path = f"{test}/performance/run_1/mlperf_log_detail.txt"
    change_log(root / path, **{key: value})
    update_origins(root)
    problems = validate(root)
    assert any(line.startswith(f"{path}: {key} is") for line in problems), problems


@pytest.mark.parametrize(("test", "factor"), [(TEST01, 1.25), (TEST01, 0.75), (TEST04, 0.75)])
def test_a_compliance_run_at_another_speed_is_reported(root: Path, test: str, factor: float) -> None:
    path = root / test / "performance/run_1/mlperf_log_detail.txt"
    metric = logs.parse_detail(path.read_text()).values["early_stopping_latency_ss"]
    assert isinstance(metric, int)
    changed = int(metric * factor)
    change_log(path, early_stopping_latency_ss=changed)
    replace_text(
        path.with_name("mlperf_log_summary.txt"),
        f"90.0th percentile estimate: {metric}",
        f"90.0th percentile estimate: {changed}",
    )
    update_origins(root)
    assert_only(validate(root), f"{test}/performance/run_1/mlperf_log_detail.txt", "expected at most 20%")


# --- files ---------------------------------------------------------------------------------------------------------


def test_every_missing_file_is_found(root: Path) -> None:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        path.unlink()
        problems = validate(root)
        assert any(line.startswith(f"{name}: is missing") for line in problems), name
        path.write_bytes(content)
    assert validate(root) == []


def test_every_missing_file_is_found_in_the_tiny_suite(tiny: Path) -> None:
    for path in sorted(path for path in tiny.rglob("*") if path.is_file()):
        name, content = path.relative_to(tiny).as_posix(), path.read_bytes()
        path.unlink()
        # Without its code the tree is taken for the other suite's.
        assert any(line.startswith(f"{name}: is missing") or "code/README.md" in name for line in validate(tiny)), name
        assert validate(tiny) != []
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "closed/Example/README.md",
        "open/README.md",
        "open/Example/results/x",
        "open/Example/code/README.md",
        "open/Example/systems/other.json",
        f"{SCENARIO}/mlperf.conf",
        f"{SCENARIO}/performance/run_2/mlperf_log_detail.txt",
        f"{SCENARIO}/performance/run_1/mlperf_log_trace.json",
        f"{SCENARIO}/accuracy/outputs.npz",
        f"{TEST04}/accuracy/accuracy.txt",
        "open/Example/results/local-busy/small-fp32/Interactive/user.conf",
    ],
)
def test_unexpected_files_are_reported(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("more")
    assert any(line.startswith(f"{name}: is not part of a submission") for line in validate(root))


def test_sources_may_contain_any_files(root: Path) -> None:
    (root / "open/Example/src/edgeproof").mkdir()
    (root / "open/Example/src/edgeproof/cli.py").write_text("pass\n")
    assert validate(root) == []


def test_an_empty_directory_is_reported(root: Path) -> None:
    (root / SCENARIO / "TEST06").mkdir()
    assert_only(validate(root), f"{SCENARIO}/TEST06", "empty directory")


def test_an_empty_file_is_reported(root: Path) -> None:
    (root / SCENARIO / "README.md").write_text("")
    assert_only(validate(root), f"{SCENARIO}/README.md", "is empty")


def test_a_missing_or_empty_submission_is_reported(tmp_path: Path) -> None:
    assert validate(tmp_path / "none") == [f"{tmp_path / 'none'}: is not a directory; expected a submission"]
    assert any("empty directory" in line for line in validate(tmp_path))
    (tmp_path / "open" / "Example").mkdir(parents=True)
    assert any("contains no system" in line for line in validate(tmp_path))


def test_a_submission_without_results_is_reported(root: Path) -> None:
    shutil.rmtree(root / "open/Example/results")
    assert any("open/Example/results: contains no system" in line for line in validate(root))
    (root / "open/Example/results/local-busy").mkdir(parents=True)
    assert any("open/Example/results/local-busy: contains no results" in line for line in validate(root))


def test_links_are_reported_and_not_followed(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"secret": true}')
    (root / SYSTEM).unlink()
    (root / SYSTEM).symlink_to(secret)
    (root / "open/Example/src/loop").symlink_to(root, target_is_directory=True)
    (root / "open/Example/src/nowhere").symlink_to("nowhere")
    problems = validate(root)
    assert sum("is a symbolic link" in line for line in problems) == 3
    assert not any("secret" in line for line in problems)


def test_a_pipe_is_reported_and_not_opened(root: Path) -> None:
    (root / MAPPING).unlink()
    os.mkfifo(root / MAPPING)
    assert f"{MAPPING}: is neither a file nor a directory" in validate(root)


@pytest.mark.parametrize("name", [".hidden", "with space", "new\nline", "caf\u00e9", "\udcff"])
def test_names_with_special_characters_are_reported_on_one_line(root: Path, name: str) -> None:
    (root / "open/Example/src" / name).write_text("content")
    problems = validate(root)
    assert len(problems) == 1
    assert "has a name with" in problems[0]
    assert is_printable(problems)


def test_too_deep_directories_are_reported_and_not_scanned(root: Path) -> None:
    deep = root / "open/Example/src" / "/".join("d" * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_text("content")
    assert_only(validate(root), "open/Example/src/" + "/".join("d" * 22), "is more than 24 directories deep")


def test_a_file_without_read_permission_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert f"{PERFORMANCE}: cannot be read: Permission denied" in validate(root)


def test_a_huge_file_is_reported(root: Path) -> None:
    with (root / PERFORMANCE).open("r+b") as stream:
        stream.truncate(51 * 2**20)
    assert any(f"{PERFORMANCE}: has {51 * 2**20} bytes" in line for line in validate(root))


# --- descriptions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("division", "closed", "'open'"),
        ("submitter", "Another", "'Example'"),
        ("status", "sold out", "available, preview, rdi"),
        ("system_type", "datacenter", "'edge'"),
        ("cooling", "", "a text that is not empty"),
        ("cooling", None, "a text that is not empty"),
        ("framework", 7, "a text"),
        ("number_of_nodes", "one", "a whole number"),
    ],
)
def test_a_system_description_is_checked(root: Path, key: str, value: Any, expected: str) -> None:
    set_keys(root / SYSTEM, **{key: value})
    problems = validate(root)
    assert any(line.startswith(f"{SYSTEM}: {key} is") and expected in line for line in problems)


def test_every_field_of_a_system_description_is_required(root: Path) -> None:
    content = json.loads((root / SYSTEM).read_text())
    assert len(content) == 35
    (root / SYSTEM).write_text("{}")
    missing = {line.split()[1] for line in validate(root) if line.startswith(f"{SYSTEM}: ")}
    assert missing == set(content)


def test_a_tiny_system_description_is_checked(tiny: Path) -> None:
    system = "open/Example/systems/local-busy-small-fp32.json"
    set_keys(
        tiny / system,
        Status="sold out",
        system_type="edge",
        Submitter="Another",
        Division="closed",
        **{"Board Name": ""},
    )
    problems = validate(tiny)
    assert len(problems) == 5
    assert all(line.startswith(f"{system}: ") for line in problems)


@pytest.mark.parametrize("mapping", [{}, {"small-fp32": "bert-99"}, {"small-fp32": []}, {"other": "resnet"}])
def test_a_mapping_to_an_unknown_benchmark_is_reported(root: Path, mapping: dict[str, Any]) -> None:
    (root / MAPPING).write_text(json.dumps(mapping))
    problems = validate(root)
    assert problems
    assert all(line.startswith(f"{MAPPING}: ") for line in problems)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("performance/results.txt", "Median throughput is", "Median throughput is 1"),
        ("performance/results.txt", "Median throughput is", "Median"),
        ("accuracy/results.txt", "Top 1% = 93", "Top 1% = .."),
        ("accuracy/results.txt", "Top 1% = 93", "Top 1% = 94"),
        ("accuracy/results.json", '"total": 1100', '"total": 0'),
        ("accuracy/results.json", '"correct": 1023', '"correct": "all"'),
        ("accuracy/results.json", "mlperf_log_accuracy.json", "other.json"),
        ("performance/results.json", "min_duration = 30", "min_duration = 3000"),
    ],
)
def test_figures_of_the_tiny_suite_must_match_the_log(tiny: Path, file: str, old: str, new: str) -> None:
    replace_text(tiny / TINY / file, old, new)
    assert_only(validate(tiny), f"{TINY}/{file}")


def test_an_unknown_benchmark_of_the_tiny_suite_is_reported(tiny: Path) -> None:
    (tiny / TINY).rename((tiny / TINY).with_name("sww"))
    assert_only(validate(tiny), f"{TINY[:-2]}sww", "is not a benchmark", "ic, kws, vww")


# --- arbitrary content ---------------------------------------------------------------------------------------------

DAMAGED: list[bytes] = [
    b"\x00",
    b"\xff\xfe\x00binary",
    b"{",
    b"[]",
    b"null",
    b"7",
    b"NaN",
    b'"text"',
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 100_000,
    b'{"number_of_nodes": ' + b"9" * 100_000 + b"}",
    b'{"runs": ' + b"[" * 800 + b"]" * 800 + b"}",
    b":::MLLOG " * 1000,
    b':::MLLOG {"key": ["result_validity"], "value": 1, "time_ms": 1, "metadata": {}}\n',
    b':::MLLOG {"key": "result_validity", "value": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    b':::MLLOG {"key": "\\ud800", "value": "\\ud800", "time_ms": 1e400, "metadata": {"is_error": true}}\n',
    b"x" * 1_000_000,
    b"\n" * 100_000,
    b"hash=" + b"0" * 64 + b"\n" * 3,
    b"hash=" + "\u0660".encode() * 64,
    b"accuracy=1.0%, good=999999999999, total=000000000000",
]


@pytest.fixture
def single(root: Path) -> Path:
    """Return a valid submission with SingleStream only, to save time."""
    for scenario in ("MultiStream", "Offline", "Server"):
        shutil.rmtree(root / SCENARIO.replace("SingleStream", scenario))
    assert validate(root) == []
    return root


def _list_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:24]))
def test_no_content_of_a_file_raises_an_exception(single: Path, content: bytes) -> None:
    for path in _list_files(single):
        original = path.read_bytes()
        path.write_bytes(content)
        problems = validate(single)
        assert is_printable(problems)
        if "README.md" not in path.name:
            assert any(line.startswith(path.relative_to(single).as_posix()) for line in problems), path
        path.write_bytes(original)


@given(data=st.data())
def test_damage_never_raises_an_exception_and_is_reported_in_logs(single: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_list_files(single)))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original)))
    length = data.draw(st.integers(0, 200))
    damaged = original[:at] + data.draw(st.binary(max_size=50)) + original[at + length :]
    path.write_bytes(damaged)
    try:
        problems = validate(single)
        assert is_printable(problems)
        if damaged != original and path.name in ("mlperf_log_detail.txt", "mlperf_log_summary.txt", "user.conf"):
            assert problems
    finally:
        path.write_bytes(original)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(data=st.data())
def test_any_value_in_a_log_is_checked_without_an_exception(single: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in _list_files(single) if path.name == "mlperf_log_detail.txt"]))
    original = path.read_text()
    lines = original.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    entry = json.loads(lines[at].removeprefix(":::MLLOG "))
    entry[data.draw(st.sampled_from(["key", "value", "time_ms", "metadata"]))] = data.draw(ANYTHING)
    lines[at] = f":::MLLOG {json.dumps(entry)}"
    path.write_text("\n".join(lines) + "\n")
    try:
        assert is_printable(validate(single))
    finally:
        path.write_text(original)


@given(data=st.data())
def test_any_value_in_a_json_file_is_checked_without_an_exception(single: Path, data: st.DataObject) -> None:
    names = [SYSTEM, MAPPING, MEASUREMENTS]
    path = single / data.draw(st.sampled_from(names))
    original = path.read_text()
    content = json.loads(original)
    if data.draw(st.booleans()) and "runs" in content:
        run = data.draw(st.sampled_from(sorted(content["runs"])))
        key = data.draw(st.sampled_from(sorted(content["runs"][run])))
        content["runs"][run][key] = data.draw(ANYTHING)
    else:
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(ANYTHING)
    path.write_text(json.dumps(content))
    try:
        assert is_printable(validate(single))
    finally:
        path.write_text(original)


def test_a_directory_in_place_of_a_file_and_the_reverse_are_reported(single: Path) -> None:
    for file in (MAPPING, SYSTEM, PERFORMANCE, f"{SCENARIO}/user.conf"):
        path = single / file
        path.rename(single / "original")
        (path / "inside").mkdir(parents=True)
        assert any(line.startswith(f"{file}: is missing") for line in validate(single))
        shutil.rmtree(path)
        (single / "original").rename(path)
    for directory in ("open/Example/results", SCENARIO, f"{SCENARIO}/performance", TEST01):
        (single / directory).rename(single / "original")
        (single / directory).write_text("a file")
        assert any(line.startswith(f"{directory}: is not part of a submission") for line in validate(single))
        (single / directory).unlink()
        (single / "original").rename(single / directory)


def test_many_invalid_lines_of_a_log_give_few_problems(root: Path) -> None:
    (root / PERFORMANCE).write_text("odd\n" * 100_000)
    log_problems = [line for line in validate(root) if line.startswith(f"{PERFORMANCE}: ")]
    assert len(log_problems) < 50
    assert any("99997 more lines like this" in line for line in log_problems)


def _read_origins(root: Path) -> dict[str, Any]:
    origins: dict[str, Any] = json.loads((root / MEASUREMENTS).read_text())["runs"]
    return origins
