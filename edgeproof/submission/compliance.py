"""MLPerf's compliance tests, verified: TEST01 and TEST04 are those that v6.1 asks of its image classification (resnet).

A compliance run is the performance run once more, under an audit.config that LoadGen reads. Only the closed division
requires them; an open submission may add them.

TEST01, that answers in performance mode are those of the accuracy run. Its audit.config:

    *.*.mode = 2
    *.*.accuracy_log_rng_seed = 720381539243781796
    *.*.accuracy_log_sampling_target = 4096

TEST04, that nothing is cached (every query asks for the same sample). Its audit.config:

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
from edgeproof.submission.logs import Detail, Unreadable, shown
from edgeproof.submission.rules import AUDITED
from edgeproof.submission.runs import METRICS
from edgeproof.submission.selection import DETAIL, RESPONSES

Test = Literal["TEST01", "TEST04"]

THRESHOLD = 0.10
# For short latencies, which vary more from run to run: TEST01 and TEST04 have their own ideas of short.
SHORT_THRESHOLD = 0.20
SHORT_NS = {"SingleStream": 200_000, "MultiStream": 1_600_000}
SHORT_PER_S = {"SingleStream": 200_000, "MultiStream": 1_600_000}
LATENCIES = ("SingleStream", "MultiStream")
PASS, FAIL = "TEST PASS", "TEST FAIL"


@dataclass(frozen=True)
class Verification:
    """What verify_accuracy.txt and verify_performance.txt say; TEST04 has no accuracy to verify."""

    accuracy: tuple[str, ...]
    performance: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the test is passed."""
        return not self.problems


def verify_test01(test: Path, *, performance: Path, accuracy: Path) -> Verification:
    """Compare a TEST01 record with the same artifact's performance and accuracy records, all given as directories.

    Passed when every logged response is byte by byte the accuracy run's for that sample, and the metric is within 10%
    of the performance run's, or 20% where its latency is short (up to 0.2 ms in SingleStream, 1.6 ms in MultiStream).
    """
    problems, told = compared_responses(test / RESPONSES, accuracy / RESPONSES)
    slower, metrics = _compared_runs("TEST01", test / DETAIL, performance / DETAIL)
    return Verification((*told, FAIL if problems else PASS), (*metrics, FAIL if slower else PASS), (*problems, *slower))


def verify_test04(test: Path, *, performance: Path) -> Verification:
    """Compare a TEST04 record with the same artifact's performance record, both given as directories.

    Passed when the run is not faster by more than 10%, or 20% in SingleStream up to 200,000 inferences a second and
    in MultiStream up to 1,600,000 queries a second.
    """
    faster, metrics = _compared_runs("TEST04", test / DETAIL, performance / DETAIL)
    return Verification((), (*metrics, FAIL if faster else PASS), tuple(faster))


def compared_metrics(test: Test, tested: Detail, reference: Detail) -> tuple[list[str], list[str]]:
    """Problems of a compliance run's metric against the performance run's, and lines that tell both."""
    scenario = reference.values.get("effective_scenario")
    if not isinstance(scenario, str) or scenario not in METRICS or tested.values.get("effective_scenario") != scenario:
        told = shown(tested.values.get("effective_scenario"))
        return [f"{test} ran the scenario {told}; expected the performance run's, {shown(scenario)}"], []
    problems = [
        f"{key} of the {test} run is {shown(tested.values.get(key))}; expected {shown(expected)}"
        for key, expected in {**AUDITED[test], "result_validity": "VALID"}.items()
        if tested.values.get(key) != expected
    ]
    if scenario == "Server" and tested.values.get("effective_target_latency_ns") != reference.values.get(
        "effective_target_latency_ns"
    ):
        problems.append(f"{test} ran with another latency limit than the performance run")
    key = METRICS[scenario][0]
    was, now = reference.number(key), tested.number(key)
    if was is None or now is None or was <= 0 or now <= 0:
        return [*problems, f"{key} is {shown(now)} under {test} and {shown(was)} without; expected numbers above 0"], []
    metrics = [f"scenario = {scenario}", f"reference {key} = {was}", f"test {key} = {now}"]
    share, what = _change(test, scenario, was, now), "faster" if test == "TEST04" else "apart"
    allowed = _threshold(test, scenario, was)
    metrics.append(f"test is {share:+.2%} {what}, at most {allowed:.0%} allowed")
    if not _within(test, scenario, was, now, allowed):
        problems.append(
            f"{key} is {now} under {test} and {was} without: {share:.1%} {what}; expected at most {allowed:.0%}"
        )
    return problems, metrics


def compared_responses(test: Path, accuracy: Path) -> tuple[list[str], list[str]]:
    """Problems of the responses that TEST01 logged against the accuracy run's, and lines that count them."""
    answers: dict[int, str] = {}
    try:
        for sample, data in logs.responses(logs.text_of(accuracy)):
            answers[sample] = data
    except Unreadable as error:
        return [f"{accuracy} {error}"], []
    try:
        logged = logs.responses(logs.text_of(test))
    except Unreadable as error:
        return [f"{test} {error}"], []
    unknown = sorted({sample for sample, _ in logged if sample not in answers})
    differing = sorted({sample for sample, data in logged if answers.get(sample, data) != data})
    counts = [
        f"responses of the accuracy run = {len(answers)}",
        f"responses logged in performance mode = {len(logged)}",
        f"samples without a response in the accuracy run = {len(unknown)}",
        f"samples with another response = {len(differing)}",
    ]
    problems = []
    if not logged:
        problems.append(f"{test} holds no responses; expected some thousand")
    if unknown:
        problems.append(f"{test}: the accuracy run did not answer {_listed(unknown)}; expected answers to all samples")
    if differing:
        problems.append(
            f"{test}: {_listed(differing)} answered otherwise than in the accuracy run; expected no difference"
        )
    return problems, counts


def _compared_runs(test: Test, tested: Path, reference: Path) -> tuple[list[str], list[str]]:
    parsed = []
    for path in (tested, reference):
        try:
            parsed.append(logs.detail(logs.text_of(path)))
        except Unreadable as error:
            return [f"{path} {error}"], []
    return compared_metrics(test, *parsed)


def _change(test: Test, scenario: str, was: float, now: float) -> float:
    """TEST04: by which share it was faster (negative when slower). TEST01: by which share it was another."""
    if test == "TEST01":
        return abs(now / was - 1)
    return (was / now if scenario in LATENCIES else now / was) - 1


def _within(test: Test, scenario: str, was: float, now: float, allowed: float) -> bool:
    """As the official scripts compute it, to the last digit."""
    if test == "TEST01":
        return was * (1 - allowed) <= now <= was * (1 + allowed)
    if scenario in LATENCIES:
        was, now = 1e9 / was, 1e9 / now
    return now < was * (1 + allowed)


def _threshold(test: Test, scenario: str, was: float) -> float:
    if scenario not in LATENCIES:
        return THRESHOLD
    short = was <= SHORT_NS[scenario] if test == "TEST01" else 1e9 / was <= SHORT_PER_S[scenario]
    return SHORT_THRESHOLD if short else THRESHOLD


def _listed(samples: Sequence[int]) -> str:
    shown_samples = ", ".join(map(str, samples[:5]))
    return f"{len(samples)} samples ({shown_samples}{', …' if len(samples) > 5 else ''})"
