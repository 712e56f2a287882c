"""Compliance tests: TEST01 compares responses and speed, TEST04 detects caching, like the official scripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproof.bench import compliance
from edgeproof.submission import rules
from edgeproof.submission.compliance import Verification, verify_test01, verify_test04
from tests.support import submission_trees as trees
from tests.support.submission_trees import change_log

DETAIL, RESPONSES = "mlperf_log_detail.txt", "mlperf_log_accuracy.json"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return trees.copy_records(tmp_path / "records")


def verify_01(records: Path, scenario: str = "single_stream_test01") -> Verification:
    return verify_test01(
        trees.record_directory(records, scenario),
        performance=trees.record_directory(records, "single_stream"),
        accuracy=trees.record_directory(records, "accuracy"),
    )


def verify_04(records: Path, scenario: str = "single_stream_test04") -> Verification:
    return verify_test04(
        trees.record_directory(records, scenario), performance=trees.record_directory(records, "single_stream")
    )


def set_metric(records: Path, scenario: str, value: float) -> None:
    change_log(trees.record_directory(records, scenario) / DETAIL, early_stopping_latency_ss=value)


def test_test01_passes_for_equal_responses_at_the_same_speed(records: Path) -> None:
    verification = verify_01(records)
    assert verification.passed
    assert verification.accuracy[-1] == verification.performance[-1] == "TEST PASS"
    count = len(json.loads((trees.record_directory(records, "single_stream_test01") / RESPONSES).read_text()))
    assert count > 1000
    assert f"responses logged in performance mode = {count}" in verification.accuracy
    assert "samples with another response = 0" in verification.accuracy


def test_test04_passes_if_one_sample_is_not_faster(records: Path) -> None:
    verification = verify_04(records)
    assert verification.passed
    assert verification.accuracy == ()
    assert verification.performance[-1] == "TEST PASS"


def test_test01_fails_and_names_the_sample_if_one_byte_of_a_response_differs(records: Path) -> None:
    path = trees.record_directory(records, "single_stream_test01") / RESPONSES
    entries = json.loads(path.read_text())
    sample, data = entries[7]["qsl_idx"], entries[7]["data"]
    entries[7]["data"] = data[:-1] + ("0" if data[-1] != "0" else "1")
    path.write_text(json.dumps(entries))
    verification = verify_01(records)
    assert verification.accuracy[-1] == "TEST FAIL"
    assert verification.performance[-1] == "TEST PASS"
    assert len(verification.problems) == 1
    assert f"responses differ from the accuracy run for 1 samples ({sample})" in verification.problems[0]


def test_test01_fails_for_a_sample_without_response_in_the_accuracy_run(records: Path) -> None:
    path = trees.record_directory(records, "accuracy") / RESPONSES
    sample = json.loads((trees.record_directory(records, "single_stream_test01") / RESPONSES).read_text())[0]["qsl_idx"]
    path.write_text(json.dumps([entry for entry in json.loads(path.read_text()) if entry["qsl_idx"] != sample]))
    (problem,) = verify_01(records).problems
    assert f"the accuracy run has no response to 1 samples ({sample})" in problem


def test_test01_fails_without_logged_responses(records: Path) -> None:
    (trees.record_directory(records, "single_stream_test01") / RESPONSES).write_text("[\n]\n")
    (problem,) = verify_01(records).problems
    assert "contains no responses" in problem


@pytest.mark.parametrize(
    ("reference_ns", "test_ns", "passes"),
    [
        # Up to 0.2 ms, 20% either way.
        (100_000, 120_000, True),
        (100_000, 120_001, False),
        (100_000, 80_000, True),
        (100_000, 79_999, False),
        (200_000, 239_999, True),
        # Above, 10%.
        (200_001, 239_999, False),
        (1_000_000, 1_100_000, True),
        (1_000_000, 1_100_001, False),
        (1_000_000, 899_999, False),
    ],
)
def test_test01_allows_a_difference_of_10_percent_or_20_for_short_latencies(
    records: Path, reference_ns: int, test_ns: int, passes: bool
) -> None:
    set_metric(records, "single_stream", reference_ns)
    set_metric(records, "single_stream_test01", test_ns)
    assert verify_01(records).passed is passes


@pytest.mark.parametrize(
    ("reference_ns", "test_ns", "passes"),
    [
        (100_000, 1_000_000, True),
        (100_000, 84_000, True),
        (100_000, 83_000, False),
        # More than 200,000 inferences a second: 10%.
        (4_999, 4_600, True),
        (4_999, 4_500, False),
    ],
)
def test_test04_allows_slower_runs_but_not_faster_ones(
    records: Path, reference_ns: int, test_ns: int, passes: bool
) -> None:
    set_metric(records, "single_stream", reference_ns)
    set_metric(records, "single_stream_test04", test_ns)
    assert verify_04(records).passed is passes


def test_sessions_run_the_audits_that_are_verified() -> None:
    parsers: dict[str, Callable[[str], object]] = {
        "accuracy_log_rng_seed": int,
        "accuracy_log_sampling_target": int,
        "performance_issue_unique": lambda text: text == "1",
        "performance_issue_same": lambda text: text == "1",
        "performance_issue_same_index": int,
    }
    for test, text in compliance.AUDITS.items():
        settings = dict(line.replace("*.*.", "effective_").split(" = ") for line in text.splitlines())
        assert settings.pop("effective_mode") == "2"
        given = {key: parsers[key.removeprefix("effective_")](value) for key, value in settings.items()}
        assert given.items() <= rules.AUDITED_SETTINGS[test].items()


def test_a_run_without_audit_fails_the_compliance_tests(records: Path) -> None:
    shutil.copyfile(
        trees.record_directory(records, "single_stream_test01") / RESPONSES,
        trees.record_directory(records, "single_stream") / RESPONSES,
    )
    problems = verify_01(records, "single_stream").problems
    assert any(
        "effective_accuracy_log_sampling_target of the TEST01 run is 0; expected 4096" in line for line in problems
    )
    problems = verify_04(records, "single_stream").problems
    assert any(
        "effective_performance_issue_same of the TEST04 run is False; expected True" in line for line in problems
    )


def test_a_compliance_run_of_another_scenario_fails(records: Path) -> None:
    (problem,) = verify_04(records, "offline").problems
    assert problem == "TEST04 ran the scenario 'Offline'; expected that of the performance run, 'SingleStream'"


def test_an_invalid_compliance_run_fails(records: Path) -> None:
    change_log(trees.record_directory(records, "single_stream_test04") / DETAIL, result_validity="INVALID")
    (problem,) = verify_04(records).problems
    assert "result_validity of the TEST04 run is 'INVALID'; expected 'VALID'" in problem


@pytest.mark.parametrize("value", [0, -1, "fast", None, True])
def test_a_metric_that_is_not_a_number_fails(records: Path, value: object) -> None:
    set_metric(records, "single_stream_test04", value)  # type: ignore[arg-type]
    assert not verify_04(records).passed


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"{}", b"[" * 100_000, b'[{"qsl_idx": true, "data": 1}]'])
@pytest.mark.parametrize("scenario", ["accuracy", "single_stream_test01"])
@pytest.mark.parametrize("name", [DETAIL, RESPONSES])
def test_a_damaged_log_fails_without_an_exception(records: Path, name: str, scenario: str, content: bytes) -> None:
    (trees.record_directory(records, scenario) / name).write_bytes(content)
    # An accuracy run's detail log is not read.
    assert verify_01(records).passed is (scenario == "accuracy" and name == DETAIL)


@pytest.mark.parametrize("scenario", ["accuracy", "single_stream", "single_stream_test01"])
def test_a_missing_record_fails_without_an_exception(records: Path, scenario: str) -> None:
    shutil.rmtree(trees.record_directory(records, scenario))
    verification = verify_01(records)
    assert not verification.passed
    assert any("is missing" in problem for problem in verification.problems)
