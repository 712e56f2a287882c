"""Measure how often the nightly alarm finds a step of 5%, and how often it is false: real noise, synthetic series.

    python experiments/change_points.py [--series 1000] [--step 0.05] [--processes 4 8] [--drift 1 2] [--held-out]
                                        [--methods]

The value of a night is the lower quartile of the logarithms of some processes. Each is the distance of a real process
from the lower quartile of its artifact in the same session. The distance of a real session from other sessions is
added, multiplied by `drift`. Half of the series step at a random night, and the alarm must come within 5 nights. The
other half last a year; a device of 20 cells may give one false alarm in a year. All alarms count, before any is
confirmed by an A/B comparison.

The noise is in experiments/change_points.csv: logarithms of medians in ns of valid runs, on a shared virtual machine of
2 processors (AMD EPYC, Linux 6.18).

    process   the default study (Fashion-MNIST), preset standard: 4 processes of each of 32 artifacts in one session
    held_out  the same study nine hours before, 3 processes of each artifact in one or two sessions; not used for tuning
    session   24 sessions of one artifact (ONNX Runtime, fp32) within 14 minutes, preset quick: one process each, so
              that the noise of that process is included

Sessions that are hours or nights apart differ by more. The option --drift shows the effect.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof import entry
from edgeproof.statistics import change_points, cusum
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.proportions import estimate_proportion

NOISE = Path(__file__).with_suffix(".csv")
CELLS, MAX_DELAY_NIGHTS = 20, 5
STEP_NIGHTS = (20, 60)  # range of the night at which a series steps

Array = np.ndarray[Any, Any]
# Maps a series to the nights at which it reports a step to slower.
Alarm = Callable[[Array], list[int]]


@dataclass(frozen=True)
class Noise:
    """Real residuals in logarithms: of processes by runtime, and of sessions."""

    process: Mapping[str, Array]
    session: Array

    def draw_series(self, rng: np.random.Generator, runtime: str, nights: int, processes: int, drift: float) -> Array:
        """Draw a series without a step."""
        sampled = rng.choice(self.process[runtime], (nights, processes))
        values = np.array([cusum.summarize_night(night) for night in sampled])
        return values + drift * rng.choice(self.session, nights)


def read_noise(path: Path = NOISE, kind: str = "process") -> Noise:
    """Read the residuals from the bundled medians. `kind` is "process" or "held_out"."""
    logs_by_artifact: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            logs_by_artifact[line["varies"], line["runtime"], line["artifact"]].append(float(line["log_p50_ns"]))
    process: dict[str, list[float]] = defaultdict(list)
    session: list[float] = []
    for (varies, runtime, _), logs in logs_by_artifact.items():
        if varies == kind:
            process[runtime] += list(np.array(logs) - cusum.summarize_night(logs))
        elif varies == "session":
            session += list(np.array(logs) - np.median(logs))
    return Noise({runtime: np.array(residuals) for runtime, residuals in process.items()}, np.array(session))


def find_robust_cusum_alarms(series: Array) -> list[int]:
    """Return the alarms of `edgeproof farm regressions`."""
    return [change.detected for change in cusum.monitor_series(series, cells=CELLS).changes if change.ratio > 1]


def find_plain_cusum_alarms(series: Array) -> list[int]:
    """Return the alarms of Page's CUSUM: mean and deviation of the nights before, the same threshold, no clipping."""
    total, alarms = 0.0, []
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        before = series[: max(cusum.MIN_BASELINE_NIGHTS, night - cusum.EXCLUDED_LATEST_NIGHTS + 1)]
        noise = max(before.std(ddof=1), cusum.TARGET_STEP_LOG / 3)
        allowance = cusum.TARGET_STEP_LOG / 2 / noise
        total = max(0.0, total + (series[night] - before.mean()) / noise - allowance)
        if total > cusum.compute_threshold(allowance, CELLS):
            alarms.append(night)
            total = 0.0
    return alarms


def find_ewma_alarms(series: Array, weight: float = 0.4, limit: float = 4.2) -> list[int]:
    """Return the alarms of an EWMA control chart (Lucas and Saccucci 1990).

    Normal noise exceeds 4.2 deviations about as rarely as it triggers the CUSUM.
    """
    average, alarms = 0.0, []
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        before = series[: max(cusum.MIN_BASELINE_NIGHTS, night - cusum.EXCLUDED_LATEST_NIGHTS + 1)]
        average += weight * ((series[night] - before.mean()) / before.std(ddof=1) - average)
        if average > limit * math.sqrt(weight / (2 - weight)):
            alarms.append(night)
            average = 0.0
    return alarms


def find_segmentation_alarms(series: Array) -> list[int]:
    """Segment all nights so far, every night anew. Return the nights at which the number of steps to slower grows."""
    alarms, known_steps = [], 0
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        steps = sum(step.ratio > 1 for step in change_points.find_steps(series[: night + 1]))
        if steps > known_steps:
            alarms.append(night)
        known_steps = max(known_steps, steps)
    return alarms


def measure_alarm(
    noise: Noise, alarm: Alarm, runtimes: list[str], arguments: argparse.Namespace, processes: int, drift: float
) -> tuple[Estimate, Estimate, float]:
    """Return the share of steps found in time, false alarms per device and year, and the median deviation of nights."""
    rng = np.random.default_rng(0)
    detected = false_alarms = days = 0
    deviations = []
    for number in range(arguments.series):
        runtime = runtimes[number % len(runtimes)]
        steady = noise.draw_series(rng, runtime, cusum.NIGHTS_A_YEAR, processes, drift)
        false_alarms += len(alarm(steady))
        days += len(steady)
        deviations.append(float(steady.std()))
        night = int(rng.integers(*STEP_NIGHTS))
        stepping = noise.draw_series(rng, runtime, night + MAX_DELAY_NIGHTS, processes, drift)
        stepping[night:] += math.log1p(arguments.step)
        detected += any(alarm_night >= night for alarm_night in alarm(stepping))
    per_device_year = estimate_proportion(false_alarms, days).scale(CELLS * cusum.NIGHTS_A_YEAR)
    return estimate_proportion(detected, arguments.series), per_device_year, float(np.median(deviations))


def main() -> int:
    """Print the share of steps found and the false alarms, by processes per night and difference of sessions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000, help="number of series of each kind")
    parser.add_argument("--step", type=float, default=0.05, help="relative size of the step")
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 8], help="processes per night")
    parser.add_argument(
        "--drift", type=float, nargs="+", default=[1, 2], help="factor of the difference between sessions"
    )
    parser.add_argument("--held-out", action="store_true", help="use the processes that were not used for tuning")
    parser.add_argument("--methods", action="store_true", help="compare with other methods, for all runtimes together")
    arguments = parser.parse_args()
    noise = read_noise(kind="held_out" if arguments.held_out else "process")
    runtimes = sorted(noise.process)
    alarms: dict[str, Alarm] = {"robust CUSUM": find_robust_cusum_alarms}
    mixes = {"all runtimes": runtimes, **{runtime: [runtime] for runtime in runtimes}}
    if arguments.methods:
        alarms |= {"CUSUM": find_plain_cusum_alarms, "EWMA": find_ewma_alarms, "segmentation": find_segmentation_alarms}
        mixes = {"all runtimes": runtimes}
    print(
        "| method | noise | processes | drift | deviation of a night | found in 5 nights "
        "| false alarms per device and year |"
    )
    print("|---|---|---|---|---|---|---|")
    for (method, alarm), mix, processes, drift in itertools.product(
        alarms.items(), mixes, arguments.processes, arguments.drift
    ):
        detected, false_alarms, deviation = measure_alarm(noise, alarm, mixes[mix], arguments, processes, drift)
        print(
            f"| {method} | {mix} | {processes} | ×{drift:g} | {deviation:.1%} "
            f"| {detected.value:.1%} [{detected.low:.1%}, {detected.high:.1%}] "
            f"| {false_alarms.value:.2f} [{false_alarms.low:.2f}, {false_alarms.high:.2f}] |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    entry.run(main)
