"""Check one submitter's tree of mlcommons/tiny."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.records.kinds import SINGLE_STREAM
from edgeproof.submission import logs, tiny
from edgeproof.submission.checks import runs
from edgeproof.submission.checks.content import SHA256, as_text
from edgeproof.submission.checks.inference import check_same_harness
from edgeproof.submission.checks.measurements import check_one_artifact, check_origin, get_file_hash
from edgeproof.submission.checks.systems import check_tiny_system, list_systems
from edgeproof.submission.checks.tree import Parts, Tree
from edgeproof.submission.logs import DetailLog, quote
from edgeproof.submission.rules import (
    MIN_DURATION_MS,
    TINY_BENCHMARK_HINDRANCES,
    TINY_METRICS,
    TINY_MIN_DURATION_MS,
    TINY_RUNS,
    BenchmarkRules,
)
from edgeproof.submission.selection import ACCURACY_LOG, DETAIL_LOG

RUN_LATENCY = re.compile(r".* Latency of run [0-9]{1,4} is ([0-9]{1,30}\.[0-9]{3}) us")
THROUGHPUT = re.compile(r".* Median throughput is ([0-9.]{1,30}) inf\./sec\.")
TOP_1 = re.compile(r".* Top 1% = ([0-9.]{1,30})")
AUC = re.compile(r".* AUC = ([0-9.]{1,30})")
# results.txt has three decimals, LoadGen's log six digits.
ABSOLUTE_TOLERANCE = 0.000501
RELATIVE_TOLERANCE = 1e-5
RUNS = ("performance", "accuracy")
FILES: tuple[Parts, ...] = tuple((run, file) for run in RUNS for file in ("log.txt", "results.txt", "results.json"))


def check_submitter(tree: Tree, base: Parts) -> set[Parts]:
    """Check one submitter's tree; return the files that belong to it."""
    expected = {(*base, "code", "README.md")}
    for system in list_systems(tree, base):
        description = (*base, "systems", f"{system}.json")
        expected.add(description)
        tree.add(description, check_tiny_system(tree.read_json(description), base[-1]))
        for benchmark in tree.list_children((*base, "results", system)):
            directory = (*base, "results", system, benchmark)
            if TINY_BENCHMARK_HINDRANCES.get(benchmark, "unknown"):
                known = ", ".join(name for name, hindrance in TINY_BENCHMARK_HINDRANCES.items() if not hindrance)
                tree.add(directory, [f"is not a benchmark that can be submitted; expected one of {known}"])
            expected |= {(*directory, *file) for file in FILES}
            _check_benchmark(tree, directory)
    return expected


def _check_benchmark(tree: Tree, directory: Parts) -> None:
    performance = tree.read_detail((*directory, "performance", "log.txt"))
    accuracy = tree.read_detail((*directory, "accuracy", "log.txt"))
    if performance is not None:
        _check_performance(tree, directory, performance)
        check_same_harness(tree, (*directory, "accuracy", "log.txt"), accuracy, performance)
    if accuracy is not None:
        tree.add((*directory, "accuracy", "log.txt"), runs.check_accuracy(accuracy))
    origins = {}
    for run in RUNS:
        path = (*directory, run, "results.json")
        content = tree.read_json(path)
        if content is None:
            continue
        tree.add(path, check_origin(tree, "it", content, {DETAIL_LOG: (*directory, run, "log.txt")}))
        origins[run] = content
    if "accuracy" in origins:
        check = _check_auc_results if TINY_METRICS.get(directory[-1]) == "auc" else _check_accuracy_results
        check(tree, (*directory, "accuracy"), origins["accuracy"], accuracy)
    tree.add(directory, check_one_artifact(origins))


def _check_performance(tree: Tree, directory: Parts, log: DetailLog) -> None:
    # MLPerf Tiny requires no number of samples in memory.
    benchmark = BenchmarkRules(performance_samples=1, server_latency_ns=0)
    place = (*directory, "performance")
    problems = runs.check_performance(log, SINGLE_STREAM, benchmark, min_duration_ms=TINY_MIN_DURATION_MS)
    tree.add((*place, "log.txt"), problems)
    median_ns = log.get_number(tiny.MEDIAN_KEY)
    rate = None if median_ns is None or median_ns <= 0 else tiny.throughput_per_s(median_ns)
    text = tree.read_text((*place, "results.txt"))
    tree.add((*place, "results.txt"), _check_figure(text, THROUGHPUT, "Median throughput is", rate))
    tree.add((*place, "results.txt"), _check_repetitions(text, log))
    conf = as_text((tree.read_json((*place, "results.json")) or {}).get("user_conf"))
    problems = runs.check_user_conf(conf, log, SINGLE_STREAM)
    tree.add((*place, "results.json"), (f"user_conf: {problem}" for problem in problems))


def _check_repetitions(text: str | None, log: DetailLog) -> Iterator[str]:
    """Check that a run shorter than those of MLPerf Inference is the median of enough runs in results.txt."""
    median_ns, duration_ms = log.get_number(tiny.MEDIAN_KEY), log.get_number("effective_min_duration_ms")
    if text is None or median_ns is None or (duration_ms is not None and duration_ms >= MIN_DURATION_MS):
        return
    latencies_us = [float(match[1]) for line in text.split("\n") if (match := RUN_LATENCY.fullmatch(line))]
    if len(latencies_us) < TINY_RUNS:
        yield f"has {len(latencies_us)} lines 'Latency of run'; expected {TINY_RUNS} for runs below 600 s"
        return
    median_us = statistics.median_high(latencies_us)
    if abs(median_us - median_ns / 1e3) > ABSOLUTE_TOLERANCE:
        yield f"the median of its runs is {median_us} us; expected that of the log"


def _check_accuracy_results(tree: Tree, place: Parts, content: Mapping[str, Any], log: DetailLog | None) -> None:
    tree.add((*place, "results.json"), _check_score(content, log))
    percent = tiny.top_1_percent(content["correct"], content["total"]) if _is_score(content) else None
    path = (*place, "results.txt")
    tree.add(path, _check_figure(tree.read_text(path), TOP_1, "Top 1% =", percent))


def _check_auc_results(tree: Tree, place: Parts, content: Mapping[str, Any], log: DetailLog | None) -> None:
    """Check the area under the ROC curve. A sound may have several samples, so its count is not that of the log."""
    auc, units = logs.as_number(content.get("auc")), logs.as_number(content.get("units"))
    if not SHA256.fullmatch(get_file_hash(content, ACCURACY_LOG)):
        tree.add((*place, "results.json"), [_describe_missing_hash()])
    is_area = auc is not None and units is not None and 0 <= auc <= 1 and units > 0
    if not is_area:
        given = f"auc is {quote(content.get('auc'))} and units is {quote(content.get('units'))}"
        tree.add((*place, "results.json"), [f"{given}; expected an area from 0 to 1 and a count"])
    path = (*place, "results.txt")
    tree.add(path, _check_figure(tree.read_text(path), AUC, "AUC =", auc if is_area else None))


def _describe_missing_hash() -> str:
    return f"{ACCURACY_LOG} has no sha256 in files; expected that of the complete accuracy log"


def _is_score(content: Mapping[str, Any]) -> bool:
    correct, total = logs.as_number(content.get("correct")), logs.as_number(content.get("total"))
    return correct is not None and total is not None and 0 <= correct <= total and total > 0


def _check_score(content: Mapping[str, Any], log: DetailLog | None) -> Iterator[str]:
    """Check the counts in the accuracy run's results.json."""
    if not SHA256.fullmatch(get_file_hash(content, ACCURACY_LOG)):
        yield _describe_missing_hash()
    correct, total = content.get("correct"), content.get("total")
    if not _is_score(content):
        yield f"correct is {quote(correct)} and total is {quote(total)}; expected counts of samples"
    elif log is not None and total != log.get_number("effective_accuracy_sample_count"):
        samples = quote(log.values.get("effective_accuracy_sample_count"))
        yield f"total is {quote(total)}; expected {samples}, the number of samples of the accuracy run"


def _check_figure(text: str | None, pattern: re.Pattern[str], what: str, expected: float | None) -> Iterator[str]:
    """Check the figure that the official checker reads from results.txt. A missing file is reported elsewhere."""
    if text is None:
        return
    figures = [match[1] for line in text.split("\n") if (match := pattern.fullmatch(line))]
    value = None
    if len(figures) == 1:
        try:
            value = float(figures[0])
        except ValueError:
            value = None
    if value is None:
        yield f"has {len(figures)} lines '{what}' with a number; expected one"
    elif expected is not None and abs(value - expected) > ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * expected:
        yield f"'{what}' {value}; expected {expected:.3f} by the log and results.json"
