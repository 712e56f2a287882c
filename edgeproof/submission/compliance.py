"""Verify MLPerf's compliance tests. MLPerf Inference v6.1 requires TEST01 and TEST04 for image classification (resnet).

A compliance run is the performance run again, with an audit.config that LoadGen reads. Only the closed division
requires the tests; an open submission may contain them.

TEST01 checks that responses in performance mode equal those of the accuracy run. Its audit.config:

    *.*.mode = 2
    *.*.accuracy_log_rng_seed = 720381539243781796
    *.*.accuracy_log_sampling_target = 4096

TEST04 checks that responses are not cached: every query asks for the same sample. Its audit.config:

    *.*.mode = 2
    *.*.performance_issue_unique = 0
    *.*.performance_issue_same = 1
    *.*.performance_issue_same_index = 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeproof.submission import logs
from edgeproof.submission.logs import DetailLog, UnreadableFile, quote
from edgeproof.submission.rules import AUDITED_SETTINGS, METRICS
from edgeproof.submission.selection import ACCURACY_LOG, DETAIL_LOG

ComplianceTest = Literal["TEST01", "TEST04"]

THRESHOLD = 0.10
# Short latencies vary more from run to run. TEST01 and TEST04 define short latencies differently.
SHORT_LATENCY_THRESHOLD = 0.20
MAX_SHORT_LATENCY_NS = {"SingleStream": 200_000, "MultiStream": 1_600_000}
MAX_SHORT_LATENCY_QUERIES_PER_S = {"SingleStream": 200_000, "MultiStream": 1_600_000}
LATENCY_SCENARIOS = ("SingleStream", "MultiStream")
PASS, FAIL = "TEST PASS", "TEST FAIL"
MAX_SHOWN_SAMPLES = 5


@dataclass(frozen=True)
class Verification:
    """Result of a compliance test: the lines of verify_accuracy.txt (none for TEST04) and of verify_performance.txt."""

    accuracy: tuple[str, ...]
    performance: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if the test passed."""
        return not self.problems


def verify_test01(test: Path, *, performance: Path, accuracy: Path) -> Verification:
    """Compare a TEST01 record with the performance and accuracy records of the same artifact, all given as directories.

    The test passes if every logged response equals, byte for byte, that of the accuracy run, and the metric differs
    from that of the performance run by at most 10%, or by 20% for a short latency (up to 0.2 ms in SingleStream, 1.6 ms
    in MultiStream).
    """
    problems, counts = compare_responses(test / ACCURACY_LOG, accuracy / ACCURACY_LOG)
    slower, metrics = _compare_runs("TEST01", test / DETAIL_LOG, performance / DETAIL_LOG)
    return Verification(
        (*counts, FAIL if problems else PASS), (*metrics, FAIL if slower else PASS), (*problems, *slower)
    )


def verify_test04(test: Path, *, performance: Path) -> Verification:
    """Compare a TEST04 record with the performance record of the same artifact, both given as directories.

    The test passes if the run is faster by at most 10%, or by 20% for a short latency (up to 200,000 inferences/s in
    SingleStream, 1,600,000 queries/s in MultiStream, by MLPerf's definition).
    """
    faster, metrics = _compare_runs("TEST04", test / DETAIL_LOG, performance / DETAIL_LOG)
    return Verification((), (*metrics, FAIL if faster else PASS), tuple(faster))


def compare_metrics(test: ComplianceTest, tested: DetailLog, reference: DetailLog) -> tuple[list[str], list[str]]:
    """Compare the metric of a compliance run with that of the performance run.

    Return the problems, and lines with both metrics and their difference.
    """
    scenario = reference.values.get("effective_scenario")
    if not isinstance(scenario, str) or scenario not in METRICS or tested.values.get("effective_scenario") != scenario:
        actual = quote(tested.values.get("effective_scenario"))
        return [f"{test} ran the scenario {actual}; expected that of the performance run, {quote(scenario)}"], []
    problems = [
        f"{key} of the {test} run is {quote(tested.values.get(key))}; expected {quote(expected)}"
        for key, expected in {**AUDITED_SETTINGS[test], "result_validity": "VALID"}.items()
        if tested.values.get(key) != expected
    ]
    limit_key = "effective_target_latency_ns"
    if scenario == "Server" and tested.values.get(limit_key) != reference.values.get(limit_key):
        problems.append(f"{test} ran with another latency limit than the performance run; expected the same")
    key = METRICS[scenario][0]
    before, after = reference.get_number(key), tested.get_number(key)
    if before is None or after is None or before <= 0 or after <= 0:
        values = f"{quote(after)} in the {test} run and {quote(before)} in the performance run"
        return [*problems, f"{key} is {values}; expected numbers above 0"], []
    metrics = [f"scenario = {scenario}", f"reference {key} = {before}", f"test {key} = {after}"]
    share, what = _compute_change(test, scenario, before, after), "faster" if test == "TEST04" else "apart"
    allowed = _choose_threshold(test, scenario, before)
    metrics.append(f"test is {share:+.2%} {what}, at most {allowed:.0%} allowed")
    if not _is_within(test, scenario, before, after, allowed):
        values = f"{after} in the {test} run and {before} in the performance run"
        problems.append(f"{key} is {values}: {share:.1%} {what}; expected at most {allowed:.0%}")
    return problems, metrics


def compare_responses(test: Path, accuracy: Path) -> tuple[list[str], list[str]]:
    """Compare the responses logged by TEST01 with those of the accuracy run.

    Return the problems, and lines with the numbers of responses.
    """
    responses: dict[int, str] = {}
    try:
        for sample, data in logs.parse_responses(logs.read_text(accuracy)):
            responses[sample] = data
    except UnreadableFile as error:
        return [f"{accuracy} {error}"], []
    try:
        logged = logs.parse_responses(logs.read_text(test))
    except UnreadableFile as error:
        return [f"{test} {error}"], []
    unknown = sorted({sample for sample, _ in logged if sample not in responses})
    differing = sorted({sample for sample, data in logged if responses.get(sample, data) != data})
    counts = [
        f"responses of the accuracy run = {len(responses)}",
        f"responses logged in performance mode = {len(logged)}",
        f"samples without a response in the accuracy run = {len(unknown)}",
        f"samples with another response = {len(differing)}",
    ]
    problems = []
    if not logged:
        problems.append(f"{test} contains no responses; expected several thousand")
    if unknown:
        problems.append(f"{test}: the accuracy run has no response to {_list_samples(unknown)}; expected one for each")
    if differing:
        problems.append(
            f"{test}: responses differ from the accuracy run for {_list_samples(differing)}; expected no difference"
        )
    return problems, counts


def _compare_runs(test: ComplianceTest, tested: Path, reference: Path) -> tuple[list[str], list[str]]:
    details = []
    for path in (tested, reference):
        try:
            details.append(logs.parse_detail(logs.read_text(path)))
        except UnreadableFile as error:
            return [f"{path} {error}"], []
    return compare_metrics(test, *details)


def _compute_change(test: ComplianceTest, scenario: str, before: float, after: float) -> float:
    """Return the relative speed-up for TEST04 (negative if slower), the absolute relative difference for TEST01."""
    if test == "TEST01":
        return abs(after / before - 1)
    return (before / after if scenario in LATENCY_SCENARIOS else after / before) - 1


def _is_within(test: ComplianceTest, scenario: str, before: float, after: float, allowed: float) -> bool:
    """Compare exactly like the official scripts, including their rounding."""
    if test == "TEST01":
        return before * (1 - allowed) <= after <= before * (1 + allowed)
    if scenario in LATENCY_SCENARIOS:
        before, after = 1e9 / before, 1e9 / after
    return after < before * (1 + allowed)


def _choose_threshold(test: ComplianceTest, scenario: str, before: float) -> float:
    if scenario not in LATENCY_SCENARIOS:
        return THRESHOLD
    if test == "TEST01":
        is_short = before <= MAX_SHORT_LATENCY_NS[scenario]
    else:
        is_short = 1e9 / before <= MAX_SHORT_LATENCY_QUERIES_PER_S[scenario]
    return SHORT_LATENCY_THRESHOLD if is_short else THRESHOLD


def _list_samples(samples: Sequence[int]) -> str:
    shown = ", ".join(map(str, samples[:MAX_SHOWN_SAMPLES]))
    return f"{len(samples)} samples ({shown}{', …' if len(samples) > MAX_SHOWN_SAMPLES else ''})"
