"""Try a version on this board before it runs for real: its own check, and a short measurement against a budget."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PERCENTILE = 0.9
# The upper end of a 95% interval.
CONFIDENCE = 0.975
SHOWN_LINES = 3
USAGE_ERROR = 2


@dataclass(frozen=True)
class TrialSettings:
    """Settings of the trial of a version.

    Attributes:
        threads: threads of the runtime.
        cores: processors to run on, or None for all.
        timeout_s: longest time of each program.
        measure_s: duration of the measurement.
        latency_ms: upper limit of the 90th percentile, or None.
        memory_mb: upper limit of the peak memory, or None. 1 MB is 10^6 bytes.
    """

    threads: int
    cores: list[int] | None
    timeout_s: float
    measure_s: float
    latency_ms: float | None
    memory_mb: float | None

    @property
    def has_limits(self) -> bool:
        """True if anything has to be measured."""
        return self.latency_ms is not None or self.memory_mb is not None


@dataclass(frozen=True)
class Figures:
    """The figures of a short measurement: the upper end of the percentile's 95% interval, and the peak memory."""

    inferences: int
    p90_ns: int
    p90_upper_ns: int
    peak_rss_bytes: int


def run_trial(bundle: Path, signer: str, settings: TrialSettings) -> tuple[list[str], Figures | None]:
    """Run a bundle's own check and, if there are limits, a measurement. Return the problems and the figures."""
    options = ["--signer", signer, "--threads", str(settings.threads)]
    code, output = run_program(bundle, ["--check", *options], settings)
    if code != 0:
        return [f"its self-check failed (exit code {code}): {_shorten(output)}"], None
    if not settings.has_limits:
        return [], None
    code, output = run_program(bundle, ["--measure", f"{settings.measure_s:g}", *options], settings)
    if code == USAGE_ERROR:
        return ["its program cannot measure: write the bundle again with this version of edgeproof"], None
    if code != 0:
        return [f"its measurement failed (exit code {code}): {_shorten(output)}"], None
    figures = parse_measurement(output)
    if figures is None:
        return [f"its measurement has no result: {_shorten(output)}"], None
    return find_exceeded(figures, settings), figures


def run_program(bundle: Path, arguments: Sequence[str], settings: TrialSettings) -> tuple[int, str]:
    """Run a bundle's program with this interpreter. Return its exit code and its output."""
    command = [sys.executable, "-I", str(bundle / "run.pyz"), *arguments]
    cores = settings.cores

    def choose_cores() -> None:
        if cores is not None:
            os.sched_setaffinity(0, cores)

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=settings.timeout_s,
            preexec_fn=None if cores is None else choose_cores,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"it was ended after {settings.timeout_s:g} s"
    except (OSError, subprocess.SubprocessError) as error:
        return -1, f"it could not be started: {error}"
    return done.returncode, done.stdout.decode(errors="replace")


def parse_measurement(output: str) -> Figures | None:
    """Return the figures in the output of a measurement, or None if it has none."""
    try:
        content = json.loads(output.strip().splitlines()[-1])
        durations = sorted(int(duration) for duration in content["durations_ns"])
        peak_rss_bytes = int(content["peak_rss_bytes"])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
        return None
    rank = find_upper_rank(len(durations), PERCENTILE)
    if rank is None:
        return None
    middle = math.ceil(len(durations) * PERCENTILE)
    return Figures(len(durations), durations[middle - 1], durations[rank - 1], peak_rss_bytes)


def find_upper_rank(count: int, share: float) -> int | None:
    """Return the rank, from 1, of the order statistic that is above a quantile with the probability CONFIDENCE.

    The probability that fewer than `rank` of `count` values lie below the quantile is binomial. None if there are too
    few values.
    """
    total = 0.0
    for below in range(count):
        log_combinations = math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
        total += math.exp(log_combinations + below * math.log(share) + (count - below) * math.log1p(-share))
        if total >= CONFIDENCE:
            return below + 1
    return None


def find_exceeded(figures: Figures, settings: TrialSettings) -> list[str]:
    """List the limits that the figures exceed. A figure is within its limit if its whole 95% interval is."""
    latency_ms, memory_mb = figures.p90_upper_ns / 1e6, figures.peak_rss_bytes / 1e6
    exceeded = []
    if settings.latency_ms is not None and latency_ms > settings.latency_ms:
        exceeded.append(f"latency is up to {latency_ms:.4g} ms (limit {settings.latency_ms:g})")
    if settings.memory_mb is not None and memory_mb > settings.memory_mb:
        exceeded.append(f"memory is up to {memory_mb:.4g} MB (limit {settings.memory_mb:g})")
    return exceeded


def _shorten(output: str) -> str:
    return " | ".join(line.strip() for line in output.splitlines()[-SHOWN_LINES:] if line.strip()) or "no output"
