"""Check one submitter's tree of mlcommons/inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.submission import logs
from edgeproof.submission.checks import runs
from edgeproof.submission.checks.content import as_text
from edgeproof.submission.checks.measurements import (
    ACCURACY,
    RUN,
    Origin,
    check_measurements,
    check_one_artifact,
    read_performance_origin,
)
from edgeproof.submission.checks.responses import check_responses
from edgeproof.submission.checks.systems import check_inference_system, list_systems
from edgeproof.submission.checks.tree import Parts, Tree
from edgeproof.submission.compliance import FAIL, PASS, ComplianceTest, compare_metrics
from edgeproof.submission.logs import DetailLog, quote
from edgeproof.submission.rules import INFERENCE_BENCHMARKS, MIN_DURATION_MS, SCENARIOS, BenchmarkRules
from edgeproof.submission.selection import ACCURACY_LOG, DETAIL_LOG, SUMMARY_LOG, USER_CONF

TESTS: tuple[ComplianceTest, ...] = ("TEST01", "TEST04")
# Keys that must be equal in all runs of an artifact: the harness and the data.
SAME_KEYS = ("loadgen_version", "sut_name", "qsl_name", "qsl_reported_total_count")
SCENARIO_FILES: tuple[Parts, ...] = (
    ("measurements.json",),
    (USER_CONF,),
    ("README.md",),
    (*RUN, DETAIL_LOG),
    (*RUN, SUMMARY_LOG),
    (*ACCURACY, DETAIL_LOG),
    (*ACCURACY, SUMMARY_LOG),
    (*ACCURACY, ACCURACY_LOG),
    (*ACCURACY, "accuracy.txt"),
)
TEST_FILES: dict[str, tuple[Parts, ...]] = {
    "TEST01": (
        ("verify_accuracy.txt",),
        ("verify_performance.txt",),
        (*RUN, DETAIL_LOG),
        (*RUN, SUMMARY_LOG),
        (*ACCURACY, ACCURACY_LOG),
        (*ACCURACY, "accuracy.txt"),
    ),
    "TEST04": (("verify_performance.txt",), (*RUN, DETAIL_LOG), (*RUN, SUMMARY_LOG)),
}


def check_submitter(tree: Tree, base: Parts) -> set[Parts]:
    """Check one submitter's tree; return the files that belong to it."""
    mapping = tree.read_json((*base, "model_mapping.json")) or {}
    expected = {(*base, "model_mapping.json"), (*base, "src", "README.md")}
    artifacts: set[str] = set()
    for system in list_systems(tree, base):
        description = (*base, "systems", f"{system}.json")
        expected.add(description)
        tree.add(description, check_inference_system(tree.read_json(description), base[-1]))
        for artifact in tree.list_children((*base, "results", system)):
            artifacts.add(artifact)
            default = next(iter(INFERENCE_BENCHMARKS.values()))
            benchmark = INFERENCE_BENCHMARKS.get(as_text(mapping.get(artifact)), default)
            expected |= _check_artifact(tree, (*base, "results", system, artifact), benchmark)
    if (*base, "model_mapping.json") in tree.files:
        tree.add((*base, "model_mapping.json"), _check_mapping(mapping, artifacts))
    return expected


def check_same_harness(tree: Tree, path: Parts, log: DetailLog | None, performance: DetailLog) -> None:
    """Check that a run used the same harness and data as the performance run."""
    if log is not None:
        for key in SAME_KEYS:
            tree.add(path, runs.check_same(log, key, performance))


def _check_artifact(tree: Tree, directory: Parts, benchmark: BenchmarkRules) -> set[Parts]:
    expected: set[Parts] = set()
    origins: dict[str, Origin] = {}
    for scenario in tree.list_children(directory):
        if scenario not in SCENARIOS:
            tree.add((*directory, scenario), [f"is not a scenario; expected one of {', '.join(SCENARIOS)}"])
            continue
        expected |= _check_scenario(tree, (*directory, scenario), benchmark)
        origin = read_performance_origin(tree, (*directory, scenario))
        if origin is not None:
            origins[scenario] = origin
    tree.add(directory, check_one_artifact(origins))
    return expected


def _check_scenario(tree: Tree, directory: Parts, benchmark: BenchmarkRules) -> set[Parts]:
    scenario = directory[-1]
    tests = [test for test in TESTS if (*directory, test) in tree.directories]
    performance = _check_performance(tree, (*directory, *RUN), scenario, benchmark)
    accuracy = tree.read_detail((*directory, *ACCURACY, DETAIL_LOG))
    if accuracy is not None:
        tree.add((*directory, *ACCURACY, DETAIL_LOG), runs.check_accuracy(accuracy))
    summary = tree.read_text((*directory, *ACCURACY, SUMMARY_LOG))
    if summary is not None:
        tree.add((*directory, *ACCURACY, SUMMARY_LOG), runs.check_no_errors(summary))
    origins = check_measurements(tree, directory, tests)
    total = None if accuracy is None else accuracy.get_number("effective_accuracy_sample_count")
    check_responses(tree, (*directory, *ACCURACY), origins.get("accuracy"), has_score=True, total=total)
    if performance is not None:
        conf = tree.read_text((*directory, USER_CONF))
        if conf is not None:
            tree.add((*directory, USER_CONF), runs.check_user_conf(conf, performance, scenario))
        check_same_harness(tree, (*directory, *ACCURACY, DETAIL_LOG), accuracy, performance)
    for test in tests:
        _check_compliance(tree, (*directory, test), test, performance, benchmark, origins.get(test))
    expected = {(*directory, *file) for file in SCENARIO_FILES}
    return expected | {(*directory, test, *file) for test in tests for file in TEST_FILES[test]}


def _check_performance(
    tree: Tree, directory: Parts, scenario: str, benchmark: BenchmarkRules, test: str | None = None
) -> DetailLog | None:
    """Check the logs of one performance run; return its detail log."""
    log, summary = tree.read_detail((*directory, DETAIL_LOG)), tree.read_text((*directory, SUMMARY_LOG))
    if log is not None:
        problems = runs.check_performance(log, scenario, benchmark, test, min_duration_ms=MIN_DURATION_MS)
        tree.add((*directory, DETAIL_LOG), problems)
    if summary is not None:
        tree.add((*directory, SUMMARY_LOG), runs.check_no_errors(summary))
        if log is not None:
            tree.add((*directory, SUMMARY_LOG), runs.check_summary(logs.parse_summary(summary), log, scenario))
    return log


def _check_compliance(
    tree: Tree,
    directory: Parts,
    test: ComplianceTest,
    performance: DetailLog | None,
    benchmark: BenchmarkRules,
    origin: Origin | None,
) -> None:
    """Check one compliance run against the performance run."""
    path = (*directory, *RUN, DETAIL_LOG)
    log = _check_performance(tree, (*directory, *RUN), directory[-2], benchmark, test)
    if performance is not None:
        check_same_harness(tree, path, log, performance)
        if log is not None:
            tree.add(path, compare_metrics(test, log, performance)[0])
    if test == "TEST01":
        check_responses(tree, (*directory, *ACCURACY), origin, has_score=False, total=None)
    for (file,) in (file for file in TEST_FILES[test] if len(file) == 1):
        text = tree.read_text((*directory, file))
        if text is not None:
            lines = [line.strip() for line in text.split("\n")]
            if PASS not in lines or any(line.startswith(FAIL) for line in lines):
                tree.add((*directory, file), [f"lacks the line '{PASS}'; expected a test that passed"])


def _check_mapping(mapping: Mapping[str, Any], artifacts: set[str]) -> Iterator[str]:
    """Check that model_mapping.json maps every artifact with results, and nothing else, to a benchmark."""
    known = ", ".join(INFERENCE_BENCHMARKS)
    for artifact in sorted(artifacts - set(mapping)):
        yield f"does not map {quote(artifact)}; expected one of {known}"
    for artifact, benchmark in mapping.items():
        if artifact not in artifacts:
            yield f"maps {quote(artifact)}, which has no results; expected the names in results/"
        if not isinstance(benchmark, str) or benchmark not in INFERENCE_BENCHMARKS:
            yield f"maps {quote(artifact)} to {quote(benchmark)}; expected one of {known}"
