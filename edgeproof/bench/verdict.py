"""Decide the verdict of every kind of job: valid, invalid, unsupported or error, with every reason.

The limits are shares of the run's own time. Quiet runs stay below them and a busy neighbour exceeds them:
docs/verdicts.md has the figures. A figure that the machine cannot report is listed as unknown and refuses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from edgeproof.bench.conditions import compute_conditions
from edgeproof.core.errors import DeviceError, DeviceUnreachableError, Unsupported
from edgeproof.core.job import ACCURACY_MODE, RunnerJob
from edgeproof.records.outcomes import JobOutcome
from edgeproof.records.record_parts import Verdict
from edgeproof.statistics.metric import Metric

Array = np.ndarray[Any, Any]

# The figure that is published for each scenario, under its name in LoadGen's log.
PUBLISHED_KEYS = {
    "SingleStream": "result_50.00_percentile_latency_ns",
    "MultiStream": "result_99.00_percentile_per_query_latency_ns",
    "Offline": "result_samples_per_second",
    "Server": "result_completed_samples_per_sec",
}


@dataclass(frozen=True)
class VerdictLimits:
    """The limits that a run must keep to be valid.

    Attributes:
        waiting_share: time in which the process was ready to run but had no processor, as the kernel counts it.
        pressure_share: time in which some task of the machine waited for a processor (PSI).
        others_cpus: processors that other processes used, on average.
        steal_cpus: processors that the hypervisor took, on average.
        switches_per_s: involuntary context switches of the process.
        frequency_change: relative change of the processor's frequency.
        temperature_rise_c: rise of the temperature in °C.
        drift: difference between the medians of the run's last and first tenth, in either direction.
        requires_steady_state: the warm-up must have reached a steady state.
        min_inferences: fewest inferences of a performance run.
        min_pairs: fewest pairs of blocks from which the host computes the ratio of an interleaved run. The runner
            measures more of them (edgeproof/runner/interleaved.py).
    """

    waiting_share: float = 0.02
    pressure_share: float = 0.10
    others_cpus: float = 0.25
    steal_cpus: float = 0.03
    switches_per_s: float = 100.0
    frequency_change: float = 0.05
    temperature_rise_c: float = 10.0
    drift: float = 0.10
    requires_steady_state: bool = True
    min_inferences: int = 64
    min_pairs: int = 20

    def to_json(self) -> dict[str, Any]:
        """Return the limits as they are recorded. An infinite limit is null."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> VerdictLimits:
        """Return recorded limits. Limits that this version does not know are ignored."""
        known = {field.name for field in fields(cls)} & content.keys()
        limits: dict[str, Any] = {name: math.inf if content[name] is None else content[name] for name in known}
        return cls(**limits)


DEFAULT_LIMITS = VerdictLimits()
# The reason for each figure that exceeds its limit.
_REASONS = {
    "waiting_share": "the process waited for a processor in {:.1%} of the run",
    "pressure_share": "tasks waited for a processor in {:.1%} of the run",
    "others_cpus": "others used {:.2f} processors during the run",
    "steal_cpus": "the hypervisor took {:.3f} processors during the run",
    "switches_per_s": "the process lost its processor {:.0f} times a second",
    "frequency_change": "the processor's frequency changed by {:.0%}",
    "temperature_rise_c": "the temperature rose by {:.0f} °C",
    "drift": "the last tenth of the inferences differs from the first by {:+.0%}",
}


@dataclass(frozen=True)
class RunVerdict:
    """The verdict of one job, with its reasons.

    Attributes:
        figures, unknown: the conditions of a run under LoadGen.
        disturbed: every reason lies in the state of the machine, so that another run may be valid.
        unreachable: the device could not be reached.
    """

    verdict: Verdict
    reasons: list[str] = field(default_factory=list)
    figures: Mapping[str, float] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    disturbed: bool = False
    unreachable: bool = False

    def to_outcome(self) -> JobOutcome:
        """Return the outcome of a job with this verdict and no results."""
        return JobOutcome(self.verdict, self.reasons, disturbed=self.disturbed, unreachable=self.unreachable)


class MissingLatencyError(DeviceError):
    """A job needs a latency that no valid run of the session has measured yet. A later attempt may succeed."""


def judge_run(
    job: RunnerJob,
    result: Mapping[str, Any],
    call_ns: Array | None,
    limits: VerdictLimits = DEFAULT_LIMITS,
    *,
    emulated: bool = False,
    device_changes: Sequence[str] = (),
) -> RunVerdict:
    """Judge one run under LoadGen.

    `call_ns` holds the durations of the inferences in ns, in order, or None. The times of an `emulated` device are
    not measurements, so neither a disturbance nor LoadGen's own verdict refuses its runs. `device_changes` says how
    the device differs from its card.
    """
    judged = _judge_run(job, result, call_ns, limits, emulated=emulated)
    if not device_changes:
        return judged
    reasons = judged.reasons + _explain_device_changes(device_changes)
    return replace(judged, verdict="invalid", reasons=reasons, disturbed=False)


def judge_quality(metric: Metric, value: float, floor: float) -> RunVerdict:
    """Judge the quality of a valid accuracy run against the task's floor, which is the worst valid quality."""
    if metric.meets(value, floor):
        return RunVerdict("valid")
    quality, limit = metric.format(value), metric.format(floor)
    return RunVerdict("invalid", [f"{metric.label} {quality} is {metric.worse_side} the task's floor of {limit}"])


def judge_interleaved(
    result: Mapping[str, Any], limits: VerdictLimits = DEFAULT_LIMITS, *, device_changes: Sequence[str] = ()
) -> RunVerdict:
    """Judge one interleaved run of two artifacts."""
    if result["status"] != "compared":
        return _judge_unfinished(result, "no comparison came back")
    reasons = _explain_fallbacks(result)
    pairs = len(result["own_ns"])
    if pairs < limits.min_pairs:
        reasons.append(f"too few samples: {pairs} pairs of blocks, at least {limits.min_pairs} are needed")
    reasons += _explain_device_changes(device_changes)
    return RunVerdict("invalid" if reasons else "valid", reasons)


def _judge_unfinished(result: Mapping[str, Any], fallback: str) -> RunVerdict:
    """Judge a run that did not end. `fallback` is the reason of one that reports none."""
    reasons = [str(result.get("error") or fallback)]
    return RunVerdict("unsupported", reasons) if result["status"] == "unsupported" else RunVerdict("error", reasons)


def explain_disturbances(report: Mapping[str, Any], limits: VerdictLimits = DEFAULT_LIMITS) -> list[str]:
    """Return how the state of the machine disturbed a timed loop, by its counters, its durations and its warm-up."""
    figures = compute_conditions(report, np.array(report["durations_ns"])).figures
    return _explain_state(figures, report["warm_up"], limits)


def judge_estimate(cpu_operators: int) -> RunVerdict:
    """Judge the estimate of an NPU's compiler by the number of operators that it leaves to a processor."""
    if cpu_operators == 0:
        return RunVerdict("valid")
    reason = f"Vela leaves {cpu_operators} operator(s) to a processor, whose time it does not estimate"
    return RunVerdict("invalid", [reason])


def judge_failure(error: DeviceError | Unsupported) -> RunVerdict:
    """Judge a job that ended with an exception on the host."""
    if isinstance(error, MissingLatencyError):
        return RunVerdict("invalid", [str(error)], disturbed=True)
    if isinstance(error, Unsupported):
        return RunVerdict("unsupported", [str(error)])
    unreachable = isinstance(error, DeviceUnreachableError)
    return RunVerdict("error", [str(error)], disturbed=unreachable, unreachable=unreachable)


def _judge_run(
    job: RunnerJob, result: Mapping[str, Any], call_ns: Array | None, limits: VerdictLimits, *, emulated: bool
) -> RunVerdict:
    if result["status"] != "done":
        return _judge_unfinished(result, "the runner gave no reason")
    log = result["loadgen"]
    logged = [log.get("effective_test_mode"), log.get("effective_scenario")]
    if logged != [job.mode, job.scenario]:
        return RunVerdict("error", [f"LoadGen's log is for {logged}, the job was {job.mode} in {job.scenario}"])
    reasons = _explain_fallbacks(result)
    if job.mode == ACCURACY_MODE:
        return RunVerdict("invalid" if reasons else "valid", reasons)
    if not emulated:
        reasons += explain_loadgen_validity(log)
    reasons += _explain_missing_figure(log, job.scenario)
    inferences = 0 if call_ns is None else len(call_ns)
    if inferences < limits.min_inferences:
        reasons.append(f"too few samples: {inferences} inferences, at least {limits.min_inferences} are needed")
    conditions = compute_conditions(result, call_ns)
    disturbances: list[str] = []
    if not emulated:
        disturbances = _explain_state(conditions.figures, result["warm_up"], limits)
    if disturbances:
        disturbances += _explain_quota(result)
    return RunVerdict(
        "invalid" if reasons or disturbances else "valid",
        reasons + disturbances,
        conditions.figures,
        conditions.unknown,
        disturbed=bool(disturbances) and not reasons,
    )


def explain_loadgen_validity(log: Mapping[str, Any]) -> list[str]:
    """Return LoadGen's reason for an invalid run, or nothing for a valid one."""
    if log.get("result_validity") == "VALID":
        return []
    reason = log.get("result_invalid_reason") or log.get("early_stopping_result") or "LoadGen gave no reason"
    return [f"LoadGen: {' '.join(str(reason).split())}"]


def _explain_fallbacks(result: Mapping[str, Any]) -> list[str]:
    return [f"did not run as expected: {line}" for line in result["fallbacks"]]


def _explain_device_changes(changes: Sequence[str]) -> list[str]:
    return [f"not the device that its card describes: {line}" for line in changes]


def _explain_missing_figure(log: Mapping[str, Any], scenario: str) -> list[str]:
    figure = log.get(PUBLISHED_KEYS[scenario])
    if isinstance(figure, int | float) and figure > 0:
        return []
    return [f"LoadGen's log holds no {PUBLISHED_KEYS[scenario]}"]


def _explain_state(figures: Mapping[str, float], warm_up: Mapping[str, Any], limits: VerdictLimits) -> list[str]:
    """Return how the state of the machine disturbed a run, by the figures of its conditions and by its warm-up."""
    return _explain_exceeded_limits(figures, limits) + _explain_unsteady_warm_up(warm_up, limits)


def _explain_unsteady_warm_up(warm_up: Mapping[str, Any], limits: VerdictLimits) -> list[str]:
    if warm_up["steady"] or not limits.requires_steady_state:
        return []
    seconds = warm_up["duration_ns"] / 1e9
    return [f"no steady state in {seconds:.1f} s of warm-up: its last blocks differ by {warm_up['spread']:.0%}"]


def _explain_quota(result: Mapping[str, Any]) -> list[str]:
    """Return the likely cause of a disturbance in a container: a quota that stops the process in every period.

    A quota that exceeds the runtime's threads is not the cause.
    """
    quota_cpus = result.get("fingerprint", {}).get("quota_cpus")
    if quota_cpus is None or quota_cpus > result.get("threads", 1):
        return []
    return [
        f"a CPU quota (cgroup) limits the runner to {quota_cpus:g} processors. Measure without it: docker run without "
        "--cpus, Kubernetes without limits.cpu"
    ]


def list_exceeded_limits(figures: Mapping[str, float], limits: VerdictLimits) -> list[str]:
    """Return the names of the figures that exceed their limit."""
    return [
        name
        for name in _REASONS
        if name in figures and (abs(figures[name]) if name == "drift" else figures[name]) > getattr(limits, name)
    ]


def _explain_exceeded_limits(figures: Mapping[str, float], limits: VerdictLimits) -> list[str]:
    return [
        f"{_REASONS[name].format(figures[name])} (limit {getattr(limits, name):g})"
        for name in list_exceeded_limits(figures, limits)
    ]
