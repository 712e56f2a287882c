"""Validation of submissions: every fault is found and named, and nothing that a file holds raises."""

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

from edgeproof.submission import logs, runs, validate
from tests.support import submission_trees as trees
from tests.support.submission_trees import MEASUREMENTS, PERFORMANCE, SCENARIO, TINY, edited, logged, replaced, sealed

TEST01, TEST04 = f"{SCENARIO}/TEST01", f"{SCENARIO}/TEST04"
ACCURACY = f"{SCENARIO}/accuracy"
SYSTEM = "open/Example/systems/local-busy.json"
MAPPING = "open/Example/model_mapping.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both flavours' submissions of the short records, made once."""
    root = tmp_path_factory.mktemp("written")
    records = trees.records(root / "records")
    for flavour in ("inference", "tiny"):
        trees.tree(root / flavour, records, flavour)  # type: ignore[arg-type]
    return root


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be as short as the fixtures' runs are, so that nothing else is wrong with them."""
    monkeypatch.setattr(runs, "MIN_DURATION_MS", trees.SHORT_MS)


@pytest.fixture
def root(written: Path, tmp_path: Path, short_limit: None) -> Path:
    """An inference submission without a fault."""
    return Path(shutil.copytree(written / "inference", tmp_path / "root"))


@pytest.fixture
def tiny(written: Path, tmp_path: Path, short_limit: None) -> Path:
    """A tiny submission without a fault."""
    return Path(shutil.copytree(written / "tiny", tmp_path / "tiny"))


def only(problems: list[str], file: str, *fragments: str) -> None:
    """There is exactly one problem, of this file, and it says these things."""
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{file}: "), problems[0]
    for fragment in fragments:
        assert fragment in problems[0]


def well_formed(problems: list[str]) -> bool:
    """Whether the problems are lines that a terminal can show."""
    return all(line.encode("utf-8") and line.isprintable() and ": " in line for line in problems)


# --- length --------------------------------------------------------------------------------------------------------


def test_a_submission_in_which_nothing_is_wrong_is_accepted(root: Path, tiny: Path) -> None:
    assert validate(root) == []
    assert validate(tiny) == []


def test_shortened_runs_are_refused_by_what_was_asked_for_and_by_how_long_they_took(written: Path) -> None:
    problems = validate(written / "inference")
    of_single = [line for line in problems if line.startswith(f"{PERFORMANCE}: ")]
    assert len(of_single) == 3
    assert "effective_min_duration_ms is 30; expected at least 600000" in of_single[0]
    assert all("the run lasted 0.03" in line and "expected at least 600 s" in line for line in of_single[1:])
    shortened = {line.partition(": ")[0] for line in problems}
    logs_of_runs = {
        path.relative_to(written / "inference").as_posix()
        for path in (written / "inference").rglob("run_1/mlperf_log_detail.txt")
    }
    assert shortened == logs_of_runs
    assert len(shortened) == 6


def test_a_shortened_run_is_refused_in_the_tiny_flavour_too(written: Path) -> None:
    problems = validate(written / "tiny")
    assert len(problems) == 3
    assert all(line.startswith(f"{TINY}/performance/log.txt: ") for line in problems)


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Offline", "Server"])
def test_asking_for_600_seconds_does_not_make_a_short_run_long(
    root: Path, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SCENARIO.replace("SingleStream", scenario)
    shutil.rmtree(root / TEST01)
    shutil.rmtree(root / TEST04)
    edited(root / MEASUREMENTS, runs={run: of for run, of in _origins(root).items() if not run.startswith("TEST")})
    for other in {"SingleStream", "MultiStream", "Offline", "Server"} - {scenario}:
        shutil.rmtree(root / SCENARIO.replace("SingleStream", other))
    path = root / directory / "performance/run_1/mlperf_log_detail.txt"
    wanted = 600_000
    asked = "100" if scenario == "Server" else "30"
    logged(path, effective_min_duration_ms=wanted, requested_min_duration_ms=wanted)
    replaced(root / directory / "performance/run_1/mlperf_log_summary.txt", f"(ms): {asked}\n", f"(ms): {wanted}\n")
    replaced(root / directory / "user.conf", f"min_duration = {asked}\n", f"min_duration = {wanted}\n")
    sealed(root, directory)
    monkeypatch.setattr(runs, "MIN_DURATION_MS", wanted)
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
def test_each_setting_and_result_of_a_run_is_checked(root: Path, key: str, value: Any, expected: str) -> None:
    logged(root / PERFORMANCE, **{key: value})
    sealed(root)
    of_log = [line for line in validate(root) if line.startswith(f"{PERFORMANCE}: {key} is ")]
    assert len(of_log) == 1
    assert of_log[0].endswith(f"expected {expected}" if "above" not in expected else "expected a number above 0")


@pytest.mark.parametrize("count", [10, "1181", None, -1, float("nan"), 1e400, 2**70])
def test_too_few_queries_are_found_and_so_are_counts_that_are_none(root: Path, count: Any) -> None:
    logged(root / PERFORMANCE, result_query_count=count)
    sealed(root)
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
def test_each_scenario_has_rules_of_its_own(root: Path, scenario: str, key: str, value: Any, expected: str) -> None:
    directory = SCENARIO.replace("SingleStream", scenario)
    path = f"{directory}/performance/run_1/mlperf_log_detail.txt"
    logged(root / path, **{key: value})
    sealed(root, directory)
    assert f"{path}: {key} is {value}; expected {expected}" in validate(root)


def test_an_error_that_loadgen_reports_is_found(root: Path) -> None:
    path = root / PERFORMANCE
    first, rest = path.read_text().split("\n", 1)
    error = json.loads(first.removeprefix(":::MLLOG ")) | {"key": "error_runtime", "value": "clocks differ"}
    error["metadata"]["is_error"] = True
    path.write_text(f"{first}\n:::MLLOG {json.dumps(error)}\n{rest}")
    sealed(root)
    only(validate(root), PERFORMANCE, "LoadGen reports an error", "error_runtime", "clocks differ")


def test_a_key_said_twice_and_otherwise_is_found(root: Path) -> None:
    path = root / PERFORMANCE
    line = next(line for line in path.read_text().splitlines() if "result_query_count" in line)
    path.write_text(path.read_text() + line.replace('"value": ', '"value": 9') + "\n")
    sealed(root)
    only(validate(root), PERFORMANCE, "again and otherwise", "result_query_count")


def test_a_summary_that_says_otherwise_than_the_detail_log_is_found(root: Path) -> None:
    summary = f"{SCENARIO}/performance/run_1/mlperf_log_summary.txt"
    replaced(root / summary, "Result is : VALID", "Result is : INVALID")
    sealed(root)
    only(validate(root), summary, "'Result is' is 'INVALID'", "expected 'VALID'")


def test_a_summary_cut_off_is_found(root: Path) -> None:
    summary = f"{ACCURACY}/mlperf_log_summary.txt"
    replaced(root / summary, "No errors encountered during test.", "No")
    sealed(root)
    only(validate(root), summary, "No errors encountered")


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
def test_each_setting_of_an_accuracy_run_is_checked(root: Path, key: str, value: Any, expected: str) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    logged(root / path, **{key: value})
    sealed(root)
    only(validate(root), path, f"{key} is {logs.shown(value)}", expected)


def test_an_accuracy_run_over_part_of_the_data_is_found(root: Path) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    logged(root / path, effective_accuracy_sample_count=100)
    sealed(root)
    problems = validate(root)
    assert f"{path}: effective_accuracy_sample_count is 100; expected 1100 as qsl_reported_total_count" in problems
    assert f"{ACCURACY}/accuracy.txt: total is 1100; expected 100, the samples of the accuracy run" in problems


def test_an_accuracy_run_over_another_data_set_is_found(root: Path) -> None:
    path = f"{ACCURACY}/mlperf_log_detail.txt"
    logged(root / path, effective_accuracy_sample_count=2000, qsl_reported_total_count=2000)
    sealed(root)
    assert f"{path}: qsl_reported_total_count is 2000; expected 1100 as in the performance run" in validate(root)


# --- accuracy and where runs come from -----------------------------------------------------------------------------


def test_runs_of_different_artifacts_are_found(root: Path) -> None:
    origins = _origins(root)
    origins["accuracy"]["artifact_sha256"] = "3" * 64
    edited(root / MEASUREMENTS, runs=origins)
    only(validate(root), MEASUREMENTS, "different artifacts", "333", "111")


def test_scenarios_of_different_artifacts_are_found(root: Path) -> None:
    origins = _origins(root)
    for origin in origins.values():
        origin["artifact_sha256"] = "3" * 64
    edited(root / MEASUREMENTS, runs=origins)
    only(validate(root), SCENARIO.removesuffix("/SingleStream"), "different artifacts", "SingleStream '333")


def test_runs_of_different_artifacts_are_found_in_the_tiny_flavour(tiny: Path) -> None:
    edited(tiny / TINY / "accuracy/results.json", artifact_sha256="3" * 64)
    only(validate(tiny), TINY, "different artifacts")


def test_an_accuracy_run_that_was_swapped_for_another_artifacts_is_found(root: Path) -> None:
    # Whole files of another run, which are faultless in themselves.
    path = root / ACCURACY / "mlperf_log_detail.txt"
    path.write_text(path.read_text().replace("2026-11-22", "2026-11-23"))
    only(validate(root), MEASUREMENTS, "mlperf_log_detail.txt of runs.accuracy has the sha256")


@pytest.mark.parametrize("runs_of", [None, [], {}, {"performance": {}}, "all"])
def test_measurements_that_do_not_tell_where_the_runs_come_from_are_found(root: Path, runs_of: Any) -> None:
    edited(root / MEASUREMENTS, runs=runs_of)
    assert any(line.startswith(f"{MEASUREMENTS}: runs is ") for line in validate(root))


@pytest.mark.parametrize("field", ["weight_data_types", "retraining", "input_data_types"])
@pytest.mark.parametrize("value", [None, "", " ", 8, []])
def test_what_measurements_must_say_is_checked(root: Path, field: str, value: Any) -> None:
    edited(root / MEASUREMENTS, **{field: value})
    only(validate(root), MEASUREMENTS, f"{field} is", "expected a text")


def test_a_cut_accuracy_log_without_a_hash_is_found(root: Path) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(path.read_text().partition("hash=")[0])
    problems = validate(root)
    assert len(problems) == 2
    assert problems[0].startswith(f"{ACCURACY}/accuracy.txt: has 0 lines 'hash=<sha256>'")
    assert problems[1].startswith(f"{ACCURACY}/mlperf_log_accuracy.json: is cut, and accuracy.txt has no hash")


@pytest.mark.parametrize("wrong", ["0" * 64, "A" * 64, "1234"])
def test_a_wrong_hash_is_found(root: Path, wrong: str) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{path.read_text().partition('hash=')[0]}hash={wrong}\n")
    assert any(line.startswith(f"{ACCURACY}/accuracy.txt: ") for line in validate(root))


def test_the_hash_of_the_cut_log_is_not_that_of_the_whole(root: Path) -> None:
    cut = hashlib.sha256((root / ACCURACY / "mlperf_log_accuracy.json").read_bytes()).hexdigest()
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{path.read_text().partition('hash=')[0]}hash={cut}\n")
    problems = validate(root)
    assert any("has the hash of what is left; expected that of the whole" in line for line in problems)


def test_an_accuracy_log_that_was_not_cut_is_found(root: Path, written: Path) -> None:
    whole = trees.record(written / "records", "accuracy") / "mlperf_log_accuracy.json"
    shutil.copyfile(whole, root / ACCURACY / "mlperf_log_accuracy.json")
    only(validate(root), f"{ACCURACY}/mlperf_log_accuracy.json", "expected at most 10240, cut in the middle")


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
def test_what_is_left_of_a_cut_accuracy_log_is_loadgens(root: Path, old: str, new: str) -> None:
    replaced(root / ACCURACY / "mlperf_log_accuracy.json", old, new)
    problems = validate(root)
    assert problems
    assert all(line.startswith(f"{ACCURACY}/mlperf_log_accuracy.json: ") for line in problems)


def test_a_short_accuracy_log_must_be_whole_and_match_its_hash(root: Path) -> None:
    path = root / ACCURACY / "mlperf_log_accuracy.json"
    path.write_text('[{"seq_id": 0, "qsl_idx": 0, "data": "00"}]\n')
    problems = validate(root)
    assert len(problems) == 2
    assert "has the sha256" in problems[0]
    assert "answers 1 samples; expected 1100" in problems[1]


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
def test_the_accuracy_is_that_of_the_counts_over_the_whole_data(root: Path, line: str, problem: str) -> None:
    path = root / ACCURACY / "accuracy.txt"
    path.write_text(f"{line}\nhash={path.read_text().partition('hash=')[2]}")
    assert any(line.startswith(f"{ACCURACY}/accuracy.txt: ") and problem in line for line in validate(root))


# --- user.conf -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("*.SingleStream.min_duration = 10", "requested_min_duration_ms is 30"),
        ("*.SingleStream.target_latency = 0.02", "requested_single_stream_expected_latency_ns is 15000"),
        ("*.*.qsl_rng_seed = 1", "sets what a submitter may not"),
        ("*.*.mode = 2", "sets what a submitter may not"),
        ("*.*.performance_issue_same = 1", "sets what a submitter may not"),
        ("*.SingleStream.target_latency_percentile = 50", "sets what a submitter may not"),
        ("*.SingleStream.max_duration = 10", "sets what a submitter may not"),
        ("min_duration = 10", "cannot be read"),
        ("*.SingleStream.min_duration = ten", "cannot be read"),
        ("*.SingleStream.min_duration 10", "cannot be read"),
        ("*.SingleStream.target_latency = 1e305", "expected what LoadGen was given"),
        ("*.SingleStream.target_latency = nan", "cannot be read"),
    ],
)
def test_a_user_conf_holds_only_what_may_be_set_and_what_was_set(root: Path, line: str, problem: str) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text(f"{path.read_text()}{line}\n")
    sealed(root)
    only(validate(root), f"{SCENARIO}/user.conf", "line 3", problem)


def test_a_user_conf_that_leaves_out_what_was_set_is_found(root: Path) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text("# nothing\n")
    sealed(root)
    only(validate(root), f"{SCENARIO}/user.conf", "does not set target_latency of SingleStream")


def test_settings_of_other_scenarios_and_comments_in_a_user_conf_do_no_harm(root: Path) -> None:
    path = root / SCENARIO / "user.conf"
    path.write_text(f"# settings\n\n{path.read_text()}resnet50.Server.target_qps = 100 # of another run\n")
    sealed(root)
    assert validate(root) == []


# --- compliance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [f"{TEST01}/verify_accuracy.txt", f"{TEST04}/verify_performance.txt"])
@pytest.mark.parametrize("text", ["TEST FAIL\n", "TEST PASS\nTEST FAIL: no\n", "nothing\n"])
def test_a_compliance_test_that_did_not_pass_is_found(root: Path, file: str, text: str) -> None:
    (root / file).write_text(text)
    only(validate(root), file, "TEST PASS")


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
def test_a_compliance_run_without_its_audit_is_found(root: Path, test: str, key: str, value: Any) -> None:
    path = f"{test}/performance/run_1/mlperf_log_detail.txt"
    logged(root / path, **{key: value})
    sealed(root)
    problems = validate(root)
    assert any(line.startswith(f"{path}: {key} is") for line in problems), problems


@pytest.mark.parametrize(("test", "factor"), [(TEST01, 1.25), (TEST01, 0.75), (TEST04, 0.75)])
def test_a_compliance_run_of_another_speed_is_found(root: Path, test: str, factor: float) -> None:
    path = root / test / "performance/run_1/mlperf_log_detail.txt"
    metric = logs.detail(path.read_text()).values["early_stopping_latency_ss"]
    assert isinstance(metric, int)
    changed = int(metric * factor)
    logged(path, early_stopping_latency_ss=changed)
    replaced(
        path.with_name("mlperf_log_summary.txt"),
        f"90.0th percentile estimate: {metric}",
        f"90.0th percentile estimate: {changed}",
    )
    sealed(root)
    only(validate(root), f"{test}/performance/run_1/mlperf_log_detail.txt", "expected at most 20%")


# --- files ---------------------------------------------------------------------------------------------------------


def test_every_missing_file_is_found(root: Path) -> None:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        path.unlink()
        problems = validate(root)
        assert any(line.startswith(f"{name}: is missing") for line in problems), name
        path.write_bytes(content)
    assert validate(root) == []


def test_every_missing_file_is_found_in_the_tiny_flavour(tiny: Path) -> None:
    for path in sorted(path for path in tiny.rglob("*") if path.is_file()):
        name, content = path.relative_to(tiny).as_posix(), path.read_bytes()
        path.unlink()
        # Without its code the tree is taken for the other flavour's.
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
def test_unexpected_files_are_found(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("more")
    assert any(line.startswith(f"{name}: is not part of a submission") for line in validate(root))


def test_sources_may_hold_any_files(root: Path) -> None:
    (root / "open/Example/src/edgeproof").mkdir()
    (root / "open/Example/src/edgeproof/cli.py").write_text("pass\n")
    assert validate(root) == []


def test_an_empty_directory_is_found(root: Path) -> None:
    (root / SCENARIO / "TEST06").mkdir()
    only(validate(root), f"{SCENARIO}/TEST06", "empty directory")


def test_an_empty_file_is_found(root: Path) -> None:
    (root / SCENARIO / "README.md").write_text("")
    only(validate(root), f"{SCENARIO}/README.md", "is empty")


def test_nothing_at_all_is_found(tmp_path: Path) -> None:
    assert validate(tmp_path / "none") == [f"{tmp_path / 'none'}: is no directory; expected a submission"]
    assert any("empty directory" in line for line in validate(tmp_path))
    (tmp_path / "open" / "Example").mkdir(parents=True)
    assert any("holds no system" in line for line in validate(tmp_path))


def test_a_submission_without_results_is_found(root: Path) -> None:
    shutil.rmtree(root / "open/Example/results")
    assert any("open/Example/results: holds no system" in line for line in validate(root))
    (root / "open/Example/results/local-busy").mkdir(parents=True)
    assert any("open/Example/results/local-busy: holds no results" in line for line in validate(root))


def test_links_are_found_and_not_followed(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"secret": true}')
    (root / SYSTEM).unlink()
    (root / SYSTEM).symlink_to(secret)
    (root / "open/Example/src/loop").symlink_to(root, target_is_directory=True)
    (root / "open/Example/src/nowhere").symlink_to("nowhere")
    problems = validate(root)
    assert sum("is a symbolic link" in line for line in problems) == 3
    assert not any("secret" in line for line in problems)


def test_a_pipe_is_found_and_not_waited_for(root: Path) -> None:
    (root / MAPPING).unlink()
    os.mkfifo(root / MAPPING)
    assert f"{MAPPING}: is neither a file nor a directory" in validate(root)


@pytest.mark.parametrize("name", [".hidden", "with space", "new\nline", "caf\u00e9", "\udcff"])
def test_names_that_make_trouble_are_found_and_shown_on_one_line(root: Path, name: str) -> None:
    (root / "open/Example/src" / name).write_text("content")
    problems = validate(root)
    assert len(problems) == 1
    assert "has a name with" in problems[0]
    assert well_formed(problems)


def test_directories_without_end_are_not_followed(root: Path) -> None:
    deep = root / "open/Example/src" / "/".join("d" * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_text("content")
    only(validate(root), "open/Example/src/" + "/".join("d" * 22), "lies deeper")


def test_a_file_that_may_not_be_read_is_a_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert f"{PERFORMANCE}: cannot be read: Permission denied" in validate(root)


def test_a_huge_file_is_not_read(root: Path) -> None:
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
        ("cooling", "", "not an empty one"),
        ("cooling", None, "not an empty one"),
        ("framework", 7, "a text"),
        ("number_of_nodes", "one", "a whole number"),
    ],
)
def test_a_systems_description_is_checked(root: Path, key: str, value: Any, expected: str) -> None:
    edited(root / SYSTEM, **{key: value})
    problems = validate(root)
    assert any(line.startswith(f"{SYSTEM}: {key} is") and expected in line for line in problems)


def test_every_field_of_a_systems_description_is_needed(root: Path) -> None:
    content = json.loads((root / SYSTEM).read_text())
    assert len(content) == 35
    (root / SYSTEM).write_text("{}")
    missing = {line.split()[1] for line in validate(root) if line.startswith(f"{SYSTEM}: ")}
    assert missing == set(content)


def test_a_tiny_systems_description_is_checked(tiny: Path) -> None:
    system = "open/Example/systems/local-busy-small-fp32.json"
    edited(
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
def test_a_mapping_to_no_known_benchmark_is_found(root: Path, mapping: dict[str, Any]) -> None:
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
def test_figures_of_the_tiny_flavour_are_those_of_the_log(tiny: Path, file: str, old: str, new: str) -> None:
    replaced(tiny / TINY / file, old, new)
    only(validate(tiny), f"{TINY}/{file}")


def test_a_benchmark_that_the_tiny_flavour_does_not_know_is_found(tiny: Path) -> None:
    (tiny / TINY).rename((tiny / TINY).with_name("sww"))
    only(validate(tiny), f"{TINY[:-2]}sww", "is no benchmark", "ic, kws, vww")


# --- whatever a file holds -----------------------------------------------------------------------------------------

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
    """Just the SingleStream runs, to be quick."""
    for scenario in ("MultiStream", "Offline", "Server"):
        shutil.rmtree(root / SCENARIO.replace("SingleStream", scenario))
    assert validate(root) == []
    return root


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:24]))
def test_no_content_of_any_file_raises(single: Path, content: bytes) -> None:
    for path in _files(single):
        kept = path.read_bytes()
        path.write_bytes(content)
        problems = validate(single)
        assert well_formed(problems)
        if "README.md" not in path.name:
            assert any(line.startswith(path.relative_to(single).as_posix()) for line in problems), path
        path.write_bytes(kept)


@given(data=st.data())
def test_no_damage_raises_and_none_to_a_log_goes_unnoticed(single: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_files(single)))
    kept = path.read_bytes()
    at = data.draw(st.integers(0, len(kept)))
    length = data.draw(st.integers(0, 200))
    damaged = kept[:at] + data.draw(st.binary(max_size=50)) + kept[at + length :]
    path.write_bytes(damaged)
    try:
        problems = validate(single)
        assert well_formed(problems)
        if damaged != kept and path.name in ("mlperf_log_detail.txt", "mlperf_log_summary.txt", "user.conf"):
            assert problems
    finally:
        path.write_bytes(kept)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(data=st.data())
def test_any_value_of_any_key_of_a_log_is_judged(single: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in _files(single) if path.name == "mlperf_log_detail.txt"]))
    kept = path.read_text()
    lines = kept.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    entry = json.loads(lines[at].removeprefix(":::MLLOG "))
    entry[data.draw(st.sampled_from(["key", "value", "time_ms", "metadata"]))] = data.draw(ANYTHING)
    lines[at] = f":::MLLOG {json.dumps(entry)}"
    path.write_text("\n".join(lines) + "\n")
    try:
        assert well_formed(validate(single))
    finally:
        path.write_text(kept)


@given(data=st.data())
def test_any_value_of_any_key_of_a_json_file_is_judged(single: Path, data: st.DataObject) -> None:
    names = [SYSTEM, MAPPING, MEASUREMENTS]
    path = single / data.draw(st.sampled_from(names))
    kept = path.read_text()
    content = json.loads(kept)
    if data.draw(st.booleans()) and "runs" in content:
        run = data.draw(st.sampled_from(sorted(content["runs"])))
        key = data.draw(st.sampled_from(sorted(content["runs"][run])))
        content["runs"][run][key] = data.draw(ANYTHING)
    else:
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(ANYTHING)
    path.write_text(json.dumps(content))
    try:
        assert well_formed(validate(single))
    finally:
        path.write_text(kept)


def test_a_directory_where_a_file_belongs_and_the_reverse_are_found(single: Path) -> None:
    for file in (MAPPING, SYSTEM, PERFORMANCE, f"{SCENARIO}/user.conf"):
        path = single / file
        path.rename(single / "kept")
        (path / "inside").mkdir(parents=True)
        assert any(line.startswith(f"{file}: is missing") for line in validate(single))
        shutil.rmtree(path)
        (single / "kept").rename(path)
    for directory in ("open/Example/results", SCENARIO, f"{SCENARIO}/performance", TEST01):
        (single / directory).rename(single / "kept")
        (single / directory).write_text("a file")
        assert any(line.startswith(f"{directory}: is not part of a submission") for line in validate(single))
        (single / directory).unlink()
        (single / "kept").rename(single / directory)


def test_a_log_of_many_odd_lines_is_told_in_a_few(root: Path) -> None:
    (root / PERFORMANCE).write_text("odd\n" * 100_000)
    of_log = [line for line in validate(root) if line.startswith(f"{PERFORMANCE}: ")]
    assert len(of_log) < 50
    assert any("99997 more lines like this" in line for line in of_log)


def _origins(root: Path) -> dict[str, Any]:
    origins: dict[str, Any] = json.loads((root / MEASUREMENTS).read_text())["runs"]
    return origins
