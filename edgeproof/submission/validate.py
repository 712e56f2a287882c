"""Our own check of a submission, which refuses what the official checkers let through. It trusts nothing it reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from edgeproof.submission import logs, runs, tiny
from edgeproof.submission.compliance import FAIL, PASS, compared_metrics
from edgeproof.submission.inference import CUT, VIEWABLE_BYTES
from edgeproof.submission.logs import Detail, Unreadable, shown
from edgeproof.submission.rules import (
    ACCURACY_LOG_BYTES,
    BENCHMARKS,
    MEASUREMENT_FIELDS,
    SCENARIOS,
    STATUSES,
    SYSTEM_FIELDS,
    TINY_BENCHMARKS,
    Benchmark,
)
from edgeproof.submission.selection import DETAIL, RESPONSES, SUMMARY, USER_CONF
from edgeproof.submission.tree import Parts, Tree, name, scan

SCORE = re.compile(r"accuracy=([0-9]{1,3}\.[0-9]{1,9})%, good=([0-9]{1,12}), total=([0-9]{1,12})")
HASH = re.compile(r"hash=([0-9a-f]{64})")
COUNT = re.compile(r"[0-9]{1,6}")
SHA256 = re.compile(r"[0-9a-f]{64}")
ENTRY = re.compile(r'\{ "seq_id" : \d+, "qsl_idx" : \d+, "data" : "[0-9A-F]*"[^{}]{0,80}\},?', re.ASCII)
THROUGHPUT = re.compile(r".* Median throughput is ([0-9.]{1,30}) inf\./sec\.")
TOP_1 = re.compile(r".* Top 1% = ([0-9.]{1,30})")
# Three decimals, and six digits in LoadGen's log.
PRINTED_ERROR = 0.000501
RELATIVE_ERROR = 1e-5

RUN = ("performance", "run_1")
ACCURACY = ("accuracy",)
TESTS: tuple[Literal["TEST01", "TEST04"], ...] = ("TEST01", "TEST04")
# What must be the same harness and data in all runs of an artifact.
SAME = ("loadgen_version", "sut_name", "qsl_name", "qsl_reported_total_count")
SCENARIO_FILES: tuple[Parts, ...] = (
    ("measurements.json",),
    (USER_CONF,),
    ("README.md",),
    (*RUN, DETAIL),
    (*RUN, SUMMARY),
    (*ACCURACY, DETAIL),
    (*ACCURACY, SUMMARY),
    (*ACCURACY, RESPONSES),
    (*ACCURACY, "accuracy.txt"),
)
TEST_FILES: dict[str, tuple[Parts, ...]] = {
    "TEST01": (
        ("verify_accuracy.txt",),
        ("verify_performance.txt",),
        (*RUN, DETAIL),
        (*RUN, SUMMARY),
        (*ACCURACY, RESPONSES),
        (*ACCURACY, "accuracy.txt"),
    ),
    "TEST04": (("verify_performance.txt",), (*RUN, DETAIL), (*RUN, SUMMARY)),
}
TINY_FILES: tuple[Parts, ...] = tuple(
    (run, file) for run in ("performance", "accuracy") for file in ("log.txt", "results.txt", "results.json")
)


def validate(root: Path) -> list[str]:
    """Every problem of the submission below `root`, one readable line each: file, what is wrong, what is expected.

    An empty list means accepted. Files may hold anything: nothing is raised for what is in them.
    """
    if not root.is_dir():
        return [f"{root}: is no directory; expected a submission"]
    tree = scan(root)
    expected: set[Parts] = set()
    sources: set[Parts] = set()  # may hold any files
    submitters = tree.children(("open",))
    if not submitters:
        tree.add(("open",), ["holds no submitter; expected open/<submitter>"])
    for submitter in submitters:
        base = ("open", submitter)
        is_tiny = "code" in tree.children(base) and "src" not in tree.children(base)
        sources.add((*base, "code" if is_tiny else "src"))
        expected |= _tiny(tree, base) if is_tiny else _inference(tree, base)
    for parts in sorted(expected - tree.files):
        tree.add(parts, ["is missing; expected a file"])
    for parts in sorted(tree.files - expected):
        if parts[:3] not in sources:
            tree.add(parts, ["is not part of a submission; expected no such file"])
    return list(dict.fromkeys(tree.problems))


# --- mlcommons/inference -------------------------------------------------------------------------------------------


def _inference(tree: Tree, base: Parts) -> set[Parts]:
    """Check one submitter's tree; returns the files that belong to it."""
    mapping = tree.json((*base, "model_mapping.json")) or {}
    expected = {(*base, "model_mapping.json"), (*base, "src", "README.md")}
    artifacts: set[str] = set()
    systems = _systems(tree, base)
    for system in systems:
        described = (*base, "systems", f"{system}.json")
        expected.add(described)
        tree.add(described, _system(tree.json(described), base[-1]))
        for artifact in tree.children((*base, "results", system)):
            artifacts.add(artifact)
            benchmark = BENCHMARKS.get(_text(mapping.get(artifact)), next(iter(BENCHMARKS.values())))
            expected |= _artifact(tree, (*base, "results", system, artifact), benchmark)
    if (*base, "model_mapping.json") in tree.files:
        tree.add((*base, "model_mapping.json"), _mapped(mapping, artifacts))
    return expected


def _artifact(tree: Tree, directory: Parts, benchmark: Benchmark) -> set[Parts]:
    expected: set[Parts] = set()
    origins: dict[str, dict[str, Any]] = {}
    for scenario in tree.children(directory):
        if scenario not in SCENARIOS:
            tree.add((*directory, scenario), [f"is no scenario; expected one of {', '.join(SCENARIOS)}"])
            continue
        expected |= _scenario(tree, (*directory, scenario), benchmark)
        content = tree.json((*directory, scenario, "measurements.json")) or {}
        told = content.get("runs")
        origin = told.get("performance") if isinstance(told, dict) else None
        if isinstance(origin, dict):
            origins[scenario] = origin
    tree.add(directory, _one_artifact(origins))
    return expected


def _scenario(tree: Tree, directory: Parts, benchmark: Benchmark) -> set[Parts]:
    scenario = directory[-1]
    tests = [test for test in TESTS if (*directory, test) in tree.directories]
    expected = {(*directory, *file) for file in SCENARIO_FILES}
    expected |= {(*directory, test, *file) for test in tests for file in TEST_FILES[test]}
    performance = _performance(tree, (*directory, *RUN), scenario, benchmark)
    accuracy = tree.detail((*directory, *ACCURACY, DETAIL))
    if accuracy is not None:
        tree.add((*directory, *ACCURACY, DETAIL), runs.accuracy(accuracy))
    summary = tree.text((*directory, *ACCURACY, SUMMARY))
    if summary is not None:
        tree.add((*directory, *ACCURACY, SUMMARY), runs.errors_of(summary))
    origins = _measurements(tree, directory, tests)
    total = None if accuracy is None else accuracy.number("effective_accuracy_sample_count")
    _responses(tree, (*directory, *ACCURACY), origins.get("accuracy"), scored=True, total=total)
    if performance is not None:
        conf = tree.text((*directory, USER_CONF))
        if conf is not None:
            tree.add((*directory, USER_CONF), runs.user_settings(conf, performance, scenario))
        _same(tree, (*directory, *ACCURACY, DETAIL), accuracy, performance)
    for test in tests:
        _test(tree, (*directory, test), test, performance, benchmark, origins.get(test))
    return expected


def _performance(
    tree: Tree, directory: Parts, scenario: str, benchmark: Benchmark, audit: str | None = None
) -> Detail | None:
    """Check the logs of one performance run."""
    log, summary = tree.detail((*directory, DETAIL)), tree.text((*directory, SUMMARY))
    if log is not None:
        tree.add((*directory, DETAIL), runs.performance(log, scenario, benchmark, audit))
    if summary is not None:
        tree.add((*directory, SUMMARY), runs.errors_of(summary))
        if log is not None:
            tree.add((*directory, SUMMARY), runs.summary_of(logs.summary(summary), log, scenario))
    return log


def _test(
    tree: Tree,
    directory: Parts,
    test: Literal["TEST01", "TEST04"],
    performance: Detail | None,
    benchmark: Benchmark,
    origin: Mapping[str, Any] | None,
) -> None:
    """Check one compliance run against the performance run."""
    path = (*directory, *RUN, DETAIL)
    log = _performance(tree, (*directory, *RUN), directory[-2], benchmark, test)
    if performance is not None:
        _same(tree, path, log, performance)
        if log is not None:
            tree.add(path, compared_metrics(test, log, performance)[0])
    if test == "TEST01":
        _responses(tree, (*directory, *ACCURACY), origin, scored=False, total=None)
    for (file,) in (file for file in TEST_FILES[test] if len(file) == 1):
        text = tree.text((*directory, file))
        if text is not None:
            said = [line.strip() for line in text.split("\n")]
            if PASS not in said or any(line.startswith(FAIL) for line in said):
                tree.add((*directory, file), [f"does not say '{PASS}'; expected a test that passed"])


def _measurements(tree: Tree, directory: Parts, tests: list[Literal["TEST01", "TEST04"]]) -> dict[str, dict[str, Any]]:
    """Check measurements.json; returns where each run comes from."""
    path = (*directory, "measurements.json")
    content = tree.json(path)
    if content is None:
        return {}
    for key in MEASUREMENT_FIELDS:
        if not isinstance(content.get(key), str) or not content[key].strip():
            tree.add(path, [f"{key} is {shown(content.get(key))}; expected a text"])
    places = {"performance": (*directory, *RUN), "accuracy": (*directory, *ACCURACY)}
    places |= {test: (*directory, test, *RUN) for test in tests}
    told = content.get("runs")
    if not isinstance(told, dict) or set(told) != set(places):
        keys = ", ".join(places)
        tree.add(path, [f"runs is {shown(told)}; expected an object that tells where {keys} come from"])
        return {}
    origins = {run: origin for run, origin in told.items() if isinstance(origin, dict)}
    for run, place in places.items():
        files = {file: (*place, file) for file in (DETAIL, SUMMARY)}
        if run == "performance":
            files[USER_CONF] = (*directory, USER_CONF)
        tree.add(path, _origin(tree, f"runs.{run}", origins.get(run), files))
    tree.add(path, _one_artifact(origins))
    return origins


def _origin(tree: Tree, what: str, origin: Mapping[str, Any] | None, files: Mapping[str, Parts]) -> Iterator[str]:
    """What ties a run's files to the record of the artifact that it measured."""
    if origin is None:
        yield f"{what} is no object; expected artifact_sha256 and files"
        return
    if not SHA256.fullmatch(_text(origin.get("artifact_sha256"))):
        yield f"artifact_sha256 of {what} is {shown(origin.get('artifact_sha256'))}; expected a sha256"
    for file, parts in files.items():
        text, stated = tree.text(parts), _stated_hash(origin, file)
        if text is not None and stated != _sha256(text):
            yield f"{file} of {what} has the sha256 {shown(stated)}; expected {_sha256(text)}, that of {name(parts)}"


def _stated_hash(origin: Mapping[str, Any] | None, file: str) -> str:
    """The sha256 of one of a record's files, as far as a run tells where it comes from."""
    files = origin.get("files") if origin is not None else None
    return _text(files.get(file)) if isinstance(files, dict) else ""


def _one_artifact(origins: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    measured = {run: _text(origin.get("artifact_sha256")) for run, origin in origins.items()}
    if len(set(measured.values())) > 1:
        listing = ", ".join(f"{run} {shown(artifact)}" for run, artifact in measured.items())
        yield f"the runs are of different artifacts: {listing}; expected one artifact"


def _responses(
    tree: Tree, directory: Parts, origin: Mapping[str, Any] | None, *, scored: bool, total: float | None
) -> None:
    """Check an accuracy log, cut or whole, and the accuracy.txt that must hold the whole one's sha256."""
    told, log = tree.text((*directory, "accuracy.txt")), tree.text((*directory, RESPONSES))
    stated = None
    if told is not None:
        stated, problems = _accuracy_text(told, scored, total)
        tree.add((*directory, "accuracy.txt"), problems)
        of_record = _stated_hash(origin, RESPONSES)
        if stated is not None and stated != of_record:
            problem = f"hash is {stated}; expected {shown(of_record)}, that of the run in measurements.json"
            tree.add((*directory, "accuracy.txt"), [problem])
    if log is not None:
        tree.add((*directory, RESPONSES), _cut_log(log, stated, total))


def _accuracy_text(text: str, scored: bool, total: float | None) -> tuple[str | None, list[str]]:
    """The sha256 that accuracy.txt states, and its problems."""
    lines = [line for line in text.split("\n") if line]
    problems = []
    stated = [found[1] for line in lines if (found := HASH.fullmatch(line))]
    if len(stated) != 1:
        problems.append(f"has {len(stated)} lines 'hash=<sha256>'; expected one, of the whole accuracy log")
    scores = [found for line in lines if (found := SCORE.fullmatch(line))]
    if len(scores) != (1 if scored else 0):
        wanted = "one line 'accuracy=<percent>%, good=<count>, total=<count>'" if scored else "no line with an accuracy"
        problems.append(f"has {len(scores)} lines with an accuracy; expected {wanted}")
    for found in scores:
        percent, good, of = float(found[1]), int(found[2]), int(found[3])
        if of == 0 or good > of or abs(percent - 100 * good / of) > PRINTED_ERROR:
            problems.append(f"accuracy is {percent}%, {good} of {of}; expected the percentage of the counts")
        if total is not None and of != total:
            problems.append(f"total is {of}; expected {total:g}, the samples of the accuracy run")
    if len(lines) > len(stated) + len(scores):
        problems.append("has lines of another kind; expected the accuracy and the hash alone")
    return (stated[0] if len(stated) == 1 else None), problems


def _cut_log(log: str, stated: str | None, total: float | None) -> Iterator[str]:
    if len(log.encode()) > ACCURACY_LOG_BYTES:
        yield f"has {len(log.encode())} bytes; expected at most {ACCURACY_LOG_BYTES}, cut in the middle"
    if CUT in log:
        yield from _around_cut(log)
        if stated is None:
            yield "is cut, and accuracy.txt has no hash of the whole; expected 'hash=<sha256>'"
        elif stated == _sha256(log):
            yield "is cut, and accuracy.txt has the hash of what is left; expected that of the whole"
        return
    try:
        answered = {sample for sample, _ in logs.responses(log)}
    except Unreadable as error:
        yield f"{error}; expected the whole accuracy log, or one cut by '...'"
        return
    if stated is not None and stated != _sha256(log):
        yield f"has the sha256 {_sha256(log)}; expected {stated} of accuracy.txt"
    if total is not None and answered != set(range(int(min(total, ACCURACY_LOG_BYTES)))):
        yield f"answers {len(answered)} samples; expected {total:g}"


def _around_cut(log: str) -> Iterator[str]:
    """What is left of a cut log: whole lines of LoadGen's but for the two that were cut."""
    begin, _, end = log.partition(CUT)
    if (len(begin), len(end)) != (VIEWABLE_BYTES, VIEWABLE_BYTES):
        yield f"has {len(begin)} and {len(end)} characters around its cut; expected {VIEWABLE_BYTES} each"
    lines = [*begin.split("\n")[1:-1], *end.removesuffix("\n]\n").split("\n")[1:]]
    odd = [line for line in lines if not ENTRY.fullmatch(line)]
    if odd or not begin.startswith("[\n") or not end.endswith("\n]\n"):
        yield f"is no accuracy log around its cut{f': {shown(odd[0])}' if odd else ''}; expected LoadGen's lines"


def _mapped(mapping: Mapping[str, Any], artifacts: set[str]) -> Iterator[str]:
    for artifact in sorted(artifacts - set(mapping)):
        yield f"does not map {shown(artifact)}; expected one of {', '.join(BENCHMARKS)}"
    for artifact, benchmark in mapping.items():
        if artifact not in artifacts:
            yield f"maps {shown(artifact)}, which has no results; expected the names in results/"
        if not isinstance(benchmark, str) or benchmark not in BENCHMARKS:
            yield f"maps {shown(artifact)} to {shown(benchmark)}; expected one of {', '.join(BENCHMARKS)}"


def _system(content: Mapping[str, Any] | None, submitter: str) -> Iterator[str]:
    if content is None:
        return
    for key, meaningful in SYSTEM_FIELDS.items():
        value = content.get(key)
        if not isinstance(value, str) or (meaningful and not value.strip()):
            yield f"{key} is {shown(value)}; expected a text{', not an empty one' if meaningful else ''}"
    yield from _said(content, "division", "open")
    yield from _said(content, "submitter", submitter)
    yield from _said(content, "system_type", "edge")
    if content.get("status") not in STATUSES:
        yield f"status is {shown(content.get('status'))}; expected one of {', '.join(STATUSES)}"
    for key in ("number_of_nodes", "accelerators_per_node"):
        if not COUNT.fullmatch(_text(content.get(key))):
            yield f"{key} is {shown(content.get(key))}; expected a whole number"
    if "is_network" in content:
        yield "has is_network; expected a system without a network"


# --- mlcommons/tiny ------------------------------------------------------------------------------------------------


def _tiny(tree: Tree, base: Parts) -> set[Parts]:
    """Check one submitter's tree; returns the files that belong to it."""
    expected = {(*base, "code", "README.md")}
    for system in _systems(tree, base):
        described = (*base, "systems", f"{system}.json")
        expected.add(described)
        tree.add(described, _tiny_system(tree.json(described), base[-1]))
        for benchmark in tree.children((*base, "results", system)):
            directory = (*base, "results", system, benchmark)
            if TINY_BENCHMARKS.get(benchmark, "unknown"):
                known = ", ".join(known for known, hindrance in TINY_BENCHMARKS.items() if not hindrance)
                tree.add(directory, [f"is no benchmark that can be submitted; expected one of {known}"])
            expected |= {(*directory, *file) for file in TINY_FILES}
            _tiny_runs(tree, directory)
    return expected


def _tiny_runs(tree: Tree, directory: Parts) -> None:
    performance = tree.detail((*directory, "performance", "log.txt"))
    accuracy = tree.detail((*directory, "accuracy", "log.txt"))
    # MLPerf Tiny prescribes no number of samples in memory.
    benchmark = Benchmark(performance_samples=1, server_latency_ns=0)
    if performance is not None:
        path = (*directory, "performance", "log.txt")
        tree.add(path, runs.performance(performance, tiny.SCENARIO, benchmark))
        _same(tree, (*directory, "accuracy", "log.txt"), accuracy, performance)
        median_ns = performance.number(tiny.MEDIAN)
        rate = None if median_ns is None or median_ns <= 0 else tiny.throughput(median_ns)
        _stated(tree, (*directory, "performance", "results.txt"), THROUGHPUT, "Median throughput is", rate)
        conf = _text((tree.json((*directory, "performance", "results.json")) or {}).get("user_conf"))
        problems = runs.user_settings(conf, performance, tiny.SCENARIO)
        tree.add((*directory, "performance", "results.json"), (f"user_conf: {problem}" for problem in problems))
    if accuracy is not None:
        tree.add((*directory, "accuracy", "log.txt"), runs.accuracy(accuracy))
    origins = {}
    for run in ("performance", "accuracy"):
        path = (*directory, run, "results.json")
        content = tree.json(path)
        if content is None:
            continue
        tree.add(path, _origin(tree, "it", content, {DETAIL: (*directory, run, "log.txt")}))
        origins[run] = content
        if run == "accuracy":
            tree.add(path, _tiny_score(content, accuracy))
            share = tiny.top_1(content["correct"], content["total"]) if _is_score(content) else None
            _stated(tree, (*directory, run, "results.txt"), TOP_1, "Top 1% =", share)
    tree.add(directory, _one_artifact(origins))


def _is_score(content: Mapping[str, Any]) -> bool:
    correct, total = logs.number(content.get("correct")), logs.number(content.get("total"))
    return correct is not None and total is not None and 0 <= correct <= total and total > 0


def _tiny_score(content: Mapping[str, Any], log: Detail | None) -> Iterator[str]:
    """What the accuracy run's results.json tells of it."""
    if not SHA256.fullmatch(_stated_hash(content, RESPONSES)):
        yield f"{RESPONSES} has no sha256 in files; expected that of the whole accuracy log"
    correct, total = content.get("correct"), content.get("total")
    if not _is_score(content):
        yield f"correct is {shown(correct)} and total is {shown(total)}; expected counts of samples"
    elif log is not None and total != log.number("effective_accuracy_sample_count"):
        samples = shown(log.values.get("effective_accuracy_sample_count"))
        yield f"total is {shown(total)}; expected {samples}, the samples of the accuracy run"


def _stated(tree: Tree, path: Parts, pattern: re.Pattern[str], what: str, expected: float | None) -> None:
    """Check the one figure that the official checker reads from results.txt."""
    text = tree.text(path)
    if text is None:
        return
    found = [match[1] for line in text.split("\n") if (match := pattern.fullmatch(line))]
    value = None
    if len(found) == 1:
        try:
            value = float(found[0])
        except ValueError:
            value = None
    if value is None:
        tree.add(path, [f"has {len(found)} lines '{what}' with a number; expected one"])
    elif expected is not None and abs(value - expected) > PRINTED_ERROR + RELATIVE_ERROR * expected:
        tree.add(path, [f"'{what}' {value}; expected {expected:.3f} by the log and results.json"])


def _tiny_system(content: Mapping[str, Any] | None, submitter: str) -> Iterator[str]:
    if content is None:
        return
    for key in tiny.FIELDS:
        if not isinstance(content.get(key), str) or not content[key].strip():
            yield f"{key} is {shown(content.get(key))}; expected a text"
    yield from _said(content, "Division", "open")
    yield from _said(content, "Submitter", submitter)
    if content.get("Status") not in STATUSES:
        yield f"Status is {shown(content.get('Status'))}; expected one of {', '.join(STATUSES)}"
    if "system_type" in content:
        yield "has system_type, on which the official checker fails; expected none"


# --- both ----------------------------------------------------------------------------------------------------------


def _systems(tree: Tree, base: Parts) -> list[str]:
    systems = tree.children((*base, "results"))
    if not systems:
        tree.add((*base, "results"), ["holds no system; expected results/<system>"])
    for system in systems:
        if not tree.children((*base, "results", system)):
            tree.add((*base, "results", system), ["holds no results; expected a directory an artifact"])
    return systems


def _same(tree: Tree, path: Parts, log: Detail | None, performance: Detail) -> None:
    """The run used the harness and the data of the performance run."""
    if log is not None:
        for key in SAME:
            tree.add(path, runs.same(log, key, performance))


def _said(content: Mapping[str, Any], key: str, expected: str) -> Iterator[str]:
    if content.get(key) != expected:
        yield f"{key} is {shown(content.get(key))}; expected {shown(expected)}"


def _text(value: object) -> str:
    """A text, or '' for what is none. (Nested lists of a stranger must not be turned into text.)"""
    return value if isinstance(value, str) else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
