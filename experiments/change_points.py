"""Does the nightly alarm find a step of 5%, and how often does it cry wolf? Real noise, synthetic series.

    python experiments/change_points.py [--series 1000] [--step 0.05] [--processes 4 8] [--drift 1 2] [--held-out] [--methods]

A night of a series is the lower quartile of some processes' logarithms, each a real process's distance from its own
artifact's lower quartile on one sitting, plus how far a real sitting stood from other sittings, `drift` times. Half of
the series step at a random night, and the alarm must come within 5 nights; the other half last a year, and a device of
20 cells may give one alarm a year. All alarms count before any is confirmed by an A/B.

The noise is in experiments/change_points.csv, logarithms of medians in ns on a shared virtual machine of 2 processors (AMD
EPYC, Linux 6.18), runs that were not refused:

    process   the default study (Fashion-MNIST), preset standard: 4 processes of each of 32 artifacts in one sitting
    held_out  the same study nine hours before, 3 processes of each in one or two sittings; nothing was chosen by it
    sitting   24 sittings of one artifact (ONNX Runtime, fp32) within 14 minutes, preset quick: one process each, whose
              own noise is in it

Sittings hours or nights apart differ by more: --drift says what that costs.
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
from edgeproof.statistics import cusum, segmentation
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.proportions import estimate_proportion

NOISE = Path(__file__).with_suffix(".csv")
CELLS, WITHIN = 20, 5
BEFORE = (20, 60)

Array = np.ndarray[Any, Any]
# From a series to the nights at which a step to slower was seen.
Alarm = Callable[[Array], list[int]]


@dataclass(frozen=True)
class Noise:
    """Real residuals: of processes by runtime, and of sittings."""

    process: Mapping[str, Array]
    sitting: Array

    def series(self, rng: np.random.Generator, runtime: str, nights: int, processes: int, drift: float) -> Array:
        """A series without a step."""
        drawn = rng.choice(self.process[runtime], (nights, processes))
        values = np.array([cusum.summarize_night(night) for night in drawn])
        return values + drift * rng.choice(self.sitting, nights)


def read(path: Path = NOISE, kind: str = "process") -> Noise:
    """The residuals of the bundled medians, with processes of a kind."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found[line["varies"], line["runtime"], line["artifact"]].append(float(line["log_p50_ns"]))
    process: dict[str, list[float]] = defaultdict(list)
    sitting: list[float] = []
    for (varies, runtime, _), logs in found.items():
        if varies == kind:
            process[runtime] += list(np.array(logs) - cusum.summarize_night(logs))
        elif varies == "sitting":
            sitting += list(np.array(logs) - np.median(logs))
    return Noise({runtime: np.array(of) for runtime, of in process.items()}, np.array(sitting))


def watched(series: Array) -> list[int]:
    """The alarm of `edgeproof farm regressions`."""
    return [change.detected for change in cusum.monitor_series(series, cells=CELLS).changes if change.ratio > 1]


def plain_cusum(series: Array) -> list[int]:
    """Page's CUSUM as in the books: mean and deviation of the nights before, the same threshold, nothing clipped."""
    total, found = 0.0, []
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        before = series[: max(cusum.MIN_BASELINE_NIGHTS, night - cusum.EXCLUDED_LATEST_NIGHTS + 1)]
        noise = max(before.std(ddof=1), cusum.TARGET_STEP_LOG / 3)
        allowance = cusum.TARGET_STEP_LOG / 2 / noise
        total = max(0.0, total + (series[night] - before.mean()) / noise - allowance)
        if total > cusum.compute_threshold(allowance, CELLS):
            found.append(night)
            total = 0.0
    return found


def ewma(series: Array, weight: float = 0.4, limit: float = 4.2) -> list[int]:
    """An EWMA control chart (Lucas and Saccucci 1990); normal noise passes 4.2 deviations about as seldom."""
    average, found = 0.0, []
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        before = series[: max(cusum.MIN_BASELINE_NIGHTS, night - cusum.EXCLUDED_LATEST_NIGHTS + 1)]
        average += weight * ((series[night] - before.mean()) / before.std(ddof=1) - average)
        if average > limit * math.sqrt(weight / (2 - weight)):
            found.append(night)
            average = 0.0
    return found


def segmented(series: Array) -> list[int]:
    """Binary segmentation of all nights so far, every night anew: nights at which it sees one step more to slower."""
    found, known = [], 0
    for night in range(cusum.MIN_BASELINE_NIGHTS, len(series)):
        seen = sum(step.ratio > 1 for step in segmentation.find_steps(series[: night + 1]))
        if seen > known:
            found.append(night)
        known = max(known, seen)
    return found


def measured(
    noise: Noise, alarm: Alarm, runtimes: list[str], arguments: argparse.Namespace, processes: int, drift: float
) -> tuple[Estimate, Estimate, float]:
    """The share of steps found in time, false alarms a device and year, and the nights' median deviation."""
    rng = np.random.default_rng(0)
    found = false = days = 0
    spreads = []
    for number in range(arguments.series):
        runtime = runtimes[number % len(runtimes)]
        still = noise.series(rng, runtime, cusum.NIGHTS_A_YEAR, processes, drift)
        false += len(alarm(still))
        days += len(still)
        spreads.append(float(still.std()))
        night = int(rng.integers(*BEFORE))
        stepping = noise.series(rng, runtime, night + WITHIN, processes, drift)
        stepping[night:] += math.log1p(arguments.step)
        found += any(seen >= night for seen in alarm(stepping))
    a_year = estimate_proportion(false, days).scale(CELLS * cusum.NIGHTS_A_YEAR)
    return estimate_proportion(found, arguments.series), a_year, float(np.median(spreads))


def main() -> int:
    """Print what is found and what is cried, by processes a night and by how much sittings differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--drift", type=float, nargs="+", default=[1, 2])
    parser.add_argument("--held-out", action="store_true", help="processes of a sitting that nothing was chosen by")
    parser.add_argument("--methods", action="store_true", help="compare with other methods instead")
    arguments = parser.parse_args()
    noise = read(kind="held_out" if arguments.held_out else "process")
    every = sorted(noise.process)
    alarms: dict[str, Alarm] = {"robust CUSUM": watched}
    mixes = {"all runtimes": every, **{runtime: [runtime] for runtime in every}}
    if arguments.methods:
        alarms |= {"CUSUM": plain_cusum, "EWMA": ewma, "segmentation": segmented}
        mixes = {"all runtimes": every}
    print(
        "| method | noise | processes | drift | a night's deviation | found in 5 nights | false alarms a device-year |"
    )
    print("|---|---|---|---|---|---|---|")
    for (method, alarm), mix, processes, drift in itertools.product(
        alarms.items(), mixes, arguments.processes, arguments.drift
    ):
        found, false, spread = measured(noise, alarm, mixes[mix], arguments, processes, drift)
        print(
            f"| {method} | {mix} | {processes} | ×{drift:g} | {spread:.1%} "
            f"| {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] "
            f"| {false.value:.2f} [{false.low:.2f}, {false.high:.2f}] |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    entry.run(main)
