"""Compliance tests: TEST01 compares responses and speed, TEST04 finds what was cached, as the official scripts do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeproof import submission
from edgeproof.bench import compliance
from edgeproof.submission import rules, verify_test01, verify_test04
from tests.support import submission_trees as trees
from tests.support.submission_trees import logged

DETAIL, RESPONSES = "mlperf_log_detail.txt", "mlperf_log_accuracy.json"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return trees.records(tmp_path / "records")


def verified_01(records: Path, scenario: str = "single_stream_test01") -> submission.Verification:
    return verify_test01(
        trees.record(records, scenario),
        performance=trees.record(records, "single_stream"),
        accuracy=trees.record(records, "accuracy"),
    )


def verified_04(records: Path, scenario: str = "single_stream_test04") -> submission.Verification:
    return verify_test04(trees.record(records, scenario), performance=trees.record(records, "single_stream"))


def metric(records: Path, scenario: str, value: float) -> None:
    logged(trees.record(records, scenario) / DETAIL, early_stopping_latency_ss=value)


def test_a_run_that_answers_alike_at_the_same_speed_passes(records: Path) -> None:
    verified = verified_01(records)
    assert verified.passed
    assert verified.accuracy[-1] == verified.performance[-1] == "TEST PASS"
    count = len(json.loads((trees.record(records, "single_stream_test01") / RESPONSES).read_text()))
    assert count > 1000
    assert f"responses logged in performance mode = {count}" in verified.accuracy
    assert "samples with another response = 0" in verified.accuracy


def test_a_run_that_is_no_faster_on_one_sample_passes(records: Path) -> None:
    verified = verified_04(records)
    assert verified.passed
    assert verified.accuracy == ()
    assert verified.performance[-1] == "TEST PASS"


def test_one_byte_of_one_response_fails_and_is_told(records: Path) -> None:
    path = trees.record(records, "single_stream_test01") / RESPONSES
    entries = json.loads(path.read_text())
    sample, data = entries[7]["qsl_idx"], entries[7]["data"]
    entries[7]["data"] = data[:-1] + ("0" if data[-1] != "0" else "1")
    path.write_text(json.dumps(entries))
    verified = verified_01(records)
    assert verified.accuracy[-1] == "TEST FAIL"
    assert verified.performance[-1] == "TEST PASS"
    assert len(verified.problems) == 1
    assert f"1 samples ({sample}) answered otherwise" in verified.problems[0]


def test_a_sample_that_the_accuracy_run_never_answered_fails(records: Path) -> None:
    path = trees.record(records, "accuracy") / RESPONSES
    asked = json.loads((trees.record(records, "single_stream_test01") / RESPONSES).read_text())[0]["qsl_idx"]
    path.write_text(json.dumps([entry for entry in json.loads(path.read_text()) if entry["qsl_idx"] != asked]))
    (problem,) = verified_01(records).problems
    assert f"did not answer 1 samples ({asked})" in problem


def test_a_run_without_logged_responses_fails(records: Path) -> None:
    (trees.record(records, "single_stream_test01") / RESPONSES).write_text("[\n]\n")
    (problem,) = verified_01(records).problems
    assert "holds no responses" in problem


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
def test_logging_responses_may_cost_a_tenth_or_a_fifth_where_it_is_short(
    records: Path, reference_ns: int, test_ns: int, passes: bool
) -> None:
    metric(records, "single_stream", reference_ns)
    metric(records, "single_stream_test01", test_ns)
    assert verified_01(records).passed is passes


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
def test_the_same_sample_again_may_be_slower_and_not_faster(
    records: Path, reference_ns: int, test_ns: int, passes: bool
) -> None:
    metric(records, "single_stream", reference_ns)
    metric(records, "single_stream_test04", test_ns)
    assert verified_04(records).passed is passes


def test_the_audits_that_sessions_run_are_those_that_are_verified() -> None:
    names = {
        "accuracy_log_rng_seed": int,
        "accuracy_log_sampling_target": int,
        "performance_issue_unique": lambda text: text == "1",
        "performance_issue_same": lambda text: text == "1",
        "performance_issue_same_index": int,
    }
    for test, text in compliance.AUDITS.items():
        asked = dict(line.replace("*.*.", "effective_").split(" = ") for line in text.splitlines())
        assert asked.pop("effective_mode") == "2"
        given = {key: names[key.removeprefix("effective_")](value) for key, value in asked.items()}
        assert given.items() <= rules.AUDITED[test].items()


def test_an_ordinary_run_is_no_compliance_run(records: Path) -> None:
    shutil.copyfile(
        trees.record(records, "single_stream_test01") / RESPONSES, trees.record(records, "single_stream") / RESPONSES
    )
    told = verified_01(records, "single_stream").problems
    assert any("effective_accuracy_log_sampling_target of the TEST01 run is 0; expected 4096" in line for line in told)
    told = verified_04(records, "single_stream").problems
    assert any("effective_performance_issue_same of the TEST04 run is False; expected True" in line for line in told)


def test_a_compliance_run_of_another_scenario_fails(records: Path) -> None:
    (problem,) = verified_04(records, "offline").problems
    assert problem == "TEST04 ran the scenario 'Offline'; expected the performance run's, 'SingleStream'"


def test_an_invalid_compliance_run_fails(records: Path) -> None:
    logged(trees.record(records, "single_stream_test04") / DETAIL, result_validity="INVALID")
    (problem,) = verified_04(records).problems
    assert "result_validity of the TEST04 run is 'INVALID'; expected 'VALID'" in problem


@pytest.mark.parametrize("value", [0, -1, "fast", None, True])
def test_a_metric_that_is_no_number_fails(records: Path, value: object) -> None:
    metric(records, "single_stream_test04", value)  # type: ignore[arg-type]
    assert not verified_04(records).passed


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"{}", b"[" * 100_000, b'[{"qsl_idx": true, "data": 1}]'])
@pytest.mark.parametrize("scenario", ["accuracy", "single_stream_test01"])
@pytest.mark.parametrize("name", [DETAIL, RESPONSES])
def test_a_damaged_log_fails_and_does_not_raise(records: Path, name: str, scenario: str, content: bytes) -> None:
    (trees.record(records, scenario) / name).write_bytes(content)
    # An accuracy run's detail log is not read.
    assert verified_01(records).passed is (scenario == "accuracy" and name == DETAIL)


@pytest.mark.parametrize("scenario", ["accuracy", "single_stream", "single_stream_test01"])
def test_a_missing_record_fails_and_does_not_raise(records: Path, scenario: str) -> None:
    shutil.rmtree(trees.record(records, scenario))
    verified = verified_01(records)
    assert not verified.passed
    assert any("is missing" in problem for problem in verified.problems)
