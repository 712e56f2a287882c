"""Whether a run may be believed: one verdict with every reason, from what the runner reported.

Limits are shares of the run's own time, set where quiet runs stay below and a busy neighbour shows
(docs/methodology.md has the figures). What the machine could not tell is listed as unknown, never taken for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.records.record_files import Verdict

Array = np.ndarray[Any, Any]

# What each figure may be at most (drift: either way), and what to say when it is more.
LIMITS = {
    # Ready to run but without a processor, as the kernel counts it for this process alone.
    "waiting_share": (0.02, "the process waited for a processor in {:.1%} of the run"),
    # Some task of the whole machine waited for a processor (PSI).
    "pressure_share": (0.10, "tasks waited for a processor in {:.1%} of the run"),
    "others_cpus": (0.25, "others used {:.2f} processors during the run"),
    "steal_cpus": (0.03, "the hypervisor took {:.3f} processors during the run"),
    "switches_per_s": (100.0, "the process lost its processor {:.0f} times a second"),
    "frequency_change": (0.05, "the processor's frequency changed by {:.0%}"),
    "temperature_rise_c": (10.0, "the temperature rose by {:.0f} °C"),
    # The median of the run's last tenth against that of its first.
    "drift": (0.10, "the last tenth of the inferences differs from the first by {:+.0%}"),
}
# Changes of calls shorter than this are those of the clock and of the interpreter.
CLOCK_FLOOR_NS = 5_000.0
LEAST_INFERENCES = 64
# What is published of each scenario, in LoadGen's log.
FIGURES = {
    "SingleStream": "result_50.00_percentile_latency_ns",
    "MultiStream": "result_99.00_percentile_per_query_latency_ns",
    "Offline": "result_samples_per_second",
    "Server": "result_completed_samples_per_sec",
}
TICK_ERROR = 2


@dataclass(frozen=True)
class Judgement:
    """A verdict, its reasons, the figures it rests on, and what the machine could not tell.

    `disturbed`: the machine's moment is the only reason, so that another run may be valid.
    """

    verdict: Verdict
    reasons: list[str]
    figures: dict[str, float]
    unknown: list[str]
    disturbed: bool = False

    def as_content(self) -> dict[str, Any]:
        """The keys that a record holds."""
        return {
            "verdict": self.verdict,
            "reasons": self.reasons,
            "figures": self.figures,
            "unknown": self.unknown,
            "disturbed": self.disturbed,
        }


def judge(
    job: Mapping[str, Any], result: Mapping[str, Any], call_ns: Array | None, *, emulated: bool = False
) -> Judgement:
    """Judge one run: the job it was given, its result, and the raw durations of its inferences in ns, in order.

    Where the device is `emulated`, its times are nobody's measurement: neither what disturbs them nor what LoadGen
    finds of them refuses anything.
    """
    if result["status"] != "done":
        return Judgement("error", [str(result.get("error") or "the runner gave no reason")], {}, [])
    log = result["loadgen"]
    ran = [log.get("effective_test_mode"), log.get("effective_scenario")]
    if ran != [job["mode"], job["scenario"]]:
        return Judgement(
            "error", [f"LoadGen's log is of {ran}, the job was {job['mode']} in {job['scenario']}"], {}, []
        )
    reasons = [f"did not run as expected: {line}" for line in result["fallbacks"]]
    if job["mode"] == "AccuracyOnly":
        return Judgement("invalid" if reasons else "valid", reasons, {}, [])
    reasons += ([] if emulated else _loadgens(log)) + _without_figure(log, job["scenario"])
    inferences = 0 if call_ns is None else len(call_ns)
    if inferences < LEAST_INFERENCES:
        reasons.append(f"too few samples: {inferences} inferences, at least {LEAST_INFERENCES} are needed")
    figures, unknown = measured(result, call_ns)
    passing = [] if emulated else _against_limits(figures) + _unsteady(result["warm_up"])
    disturbed = bool(passing) and not reasons
    return Judgement("invalid" if reasons or passing else "valid", reasons + passing, figures, unknown, disturbed)


def measured(result: Mapping[str, Any], call_ns: Array | None) -> tuple[dict[str, float], list[str]]:
    """The run's conditions as shares of its time, and the names of those that the machine could not tell."""
    before, after = result["counters"]["before"], result["counters"]["after"]
    elapsed_ns = after["monotonic_ns"] - before["monotonic_ns"]
    tick_ns = 1e9 / before["ticks_per_s"]

    def grown(name: str) -> float | None:
        return None if before[name] is None or after[name] is None else float(after[name] - before[name])

    def share(name: str, unit_ns: float) -> float | None:
        growth = grown(name)
        return None if growth is None else growth * unit_ns / elapsed_ns

    busy, own, steal = grown("busy_ticks"), grown("own_cpu_ns"), grown("steal_ticks")
    switches, frequency = grown("involuntary_switches"), grown("frequency_khz")
    heat = grown("temperature_millic")
    waiting, pressure = share("run_delay_ns", 1), share("cpu_pressure_us", 1e3)
    if before.get("processors") == 1 and waiting is not None and own is not None:
        # LoadGen's logger and the queries take turns on the one there is, which is no neighbour's doing: others had the
        # processor at most while none of our threads did, and one that gave way to another of ours soon got it back.
        among_own = max(0.0, waiting - max(0.0, 1 - own / elapsed_ns))
        waiting -= among_own
        pressure = None if pressure is None else max(0.0, pressure - among_own)
        switches = None if switches is None else max(0.0, switches - (grown("voluntary_switches") or 0.0))
    found: dict[str, float | None] = {
        "waiting_share": waiting,
        "pressure_share": pressure,
        # Counters advance a tick at a time, on each processor at its own moment.
        "others_cpus": None
        if busy is None or own is None
        else max(0.0, (busy - TICK_ERROR) * tick_ns - own) / elapsed_ns,
        "steal_cpus": None if steal is None else max(0.0, steal - TICK_ERROR) * tick_ns / elapsed_ns,
        "switches_per_s": None if switches is None else switches * 1e9 / elapsed_ns,
        "frequency_change": None if frequency is None else abs(frequency) / before["frequency_khz"],
        "temperature_rise_c": None if heat is None else heat / 1000,
        "drift": drift(call_ns),
    }
    known = {name: round(value, 6) for name, value in found.items() if value is not None}
    return known, [name for name, value in found.items() if value is None]


def drift(call_ns: Array | None) -> float | None:
    """How much slower the last tenth of the inferences was than the first, by their medians; negative when faster."""
    if call_ns is None or len(call_ns) < 10:
        return None
    tenth = max(1, len(call_ns) // 10)
    first, last = float(np.median(call_ns[:tenth])), float(np.median(call_ns[-tenth:]))
    return (last - first) / max(first, CLOCK_FLOOR_NS)


def _loadgens(log: Mapping[str, Any]) -> list[str]:
    if log.get("result_validity") == "VALID":
        return []
    reason = log.get("result_invalid_reason") or log.get("early_stopping_result") or "LoadGen gave no reason"
    return [f"LoadGen: {' '.join(str(reason).split())}"]


def _without_figure(log: Mapping[str, Any], scenario: str) -> list[str]:
    figure = log.get(FIGURES[scenario])
    if isinstance(figure, int | float) and figure > 0:
        return []
    return [f"LoadGen's log holds no {FIGURES[scenario]}"]


def _unsteady(warm: Mapping[str, Any]) -> list[str]:
    if warm["steady"]:
        return []
    seconds = warm["duration_ns"] / 1e9
    return [f"no steady state in {seconds:.1f} s of warm-up: its last blocks differ by {warm['spread']:.0%}"]


def _against_limits(figures: Mapping[str, float]) -> list[str]:
    return [
        f"{text.format(figures[name])} (limit {limit:g})"
        for name, (limit, text) in LIMITS.items()
        if name in figures and (abs(figures[name]) if name == "drift" else figures[name]) > limit
    ]
