"""Compare the parts of one record with each other: its figures, LoadGen's own log, and the raw arrays.

They show damage and careless edits. They do not show a forgery: whoever changes all parts alike, and the hashes with
them, makes a consistent record. Only a signature shows that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core.errors import ArtifactError
from edgeproof.core.job import NULL_RUNTIME, PERFORMANCE_MODE
from edgeproof.core.loadgen_log import DETAIL_LOG, parse_detail_log
from edgeproof.records.kinds import (
    EVIDENCE_FILE,
    LATENCIES_FILE,
    MULTI_STREAM,
    OFFLINE,
    OUTPUTS_FILE,
    SERVER,
    SINGLE_STREAM,
)
from edgeproof.records.latencies import Latencies, read_latencies
from edgeproof.records.record import MEASURE_AGAIN, Record
from edgeproof.statistics.estimates import Array
from edgeproof.statistics.metric import CORRECT
from edgeproof.statistics.proportions import estimate_proportion

# LoadGen and the runner read different clocks. The runner refuses a run if they disagree by more than this share.
CLOCK_SHARE = 0.002
CLOCK_FLOOR_NS = 2_000.0
SPAN_FLOOR_NS = 5e6
PERCENTS = ("50.00", "90.00", "95.00", "97.00", "99.00")


@dataclass(frozen=True)
class OverheadLimits:
    """The most time that LoadGen and the callback may add to an inference, as seen by LoadGen.

    The harness alone takes `harness_p50_ns`. After an inference its caches are cold, so it takes longer: up to twice as
    long in 120 runs on a busy machine, where inferences took 9 to 50 µs.
    """

    share: float
    floor_ns: float

    @classmethod
    def choose(cls, harness_p50_ns: float | None) -> OverheadLimits:
        """Return the limits for a session whose harness took this time; without it, they are wide."""
        return cls(0.25, 50_000.0) if harness_p50_ns is None else cls(0.10, 1_000.0 + 3 * harness_p50_ns)


def list_problems(record: Record, harness_p50_ns: float | None = None) -> list[str]:
    """Return every contradiction within a record.

    `harness_p50_ns` is the time of the harness in the session, for a record that does not hold it. Raises ArtifactError
    for a part that cannot be read.
    """
    problems = [
        *_find_missing_files(record),
        *_compare_with_log(record),
        *_compare_with_arrays(record, record.harness_p50_ns or harness_p50_ns),
    ]
    if record.quality is not None and (EVIDENCE_FILE in record.files or OUTPUTS_FILE in record.files):
        read_evidence(record)
    return [f"{record.directory}: {problem}" for problem in problems]


def find_harness_p50_ns(records: Iterable[Record]) -> float | None:
    """Return the least median latency of the null runtime in a session, whatever its verdict, or None without one."""
    results = [record.result for record in records if record.identity.runtime == NULL_RUNTIME]
    medians = [result.loadgen.get("result_50.00_percentile_latency_ns") for result in results if result is not None]
    return min((float(median) for median in medians if isinstance(median, int | float) and median > 0), default=None)


def require_log(record: Record) -> None:
    """Raise ArtifactError for a record whose figures differ from those in LoadGen's own log."""
    for problem in _compare_with_log(record):
        raise ArtifactError(f"{record.directory}: {problem}. Restore the record from a backup, or measure again.")


def require_plausible(record: Record, latencies: Latencies) -> None:
    """Raise ArtifactError for a record whose latencies contradict LoadGen's."""
    for problem in _compare_latencies(record, latencies, record.harness_p50_ns):
        raise ArtifactError(f"{record.directory}: {problem}. Restore the record from a backup, or measure again.")


def _compare_with_log(record: Record) -> Iterator[str]:
    """Compare the values in record.json with those in LoadGen's detail log, where the record has one."""
    if record.result is None or not record.result.loadgen or DETAIL_LOG not in record.files:
        return
    own = record.result.loadgen
    try:
        logged = parse_detail_log(record.find_file(DETAIL_LOG).read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        yield f"{DETAIL_LOG} is not LoadGen's ({type(error).__name__})"
        return
    for key in sorted(own.keys() | logged.keys()):
        if own.get(key) != logged.get(key):
            yield f"'{key}' is {own.get(key)!r} in record.json and {logged.get(key)!r} in {DETAIL_LOG}"


def _find_missing_files(record: Record) -> Iterator[str]:
    """Yield the files that a run under LoadGen always leaves and the record does not have."""
    if record.result is None or not record.result.is_done or record.job is None:
        return
    if DETAIL_LOG not in record.files:
        yield f"it has no {DETAIL_LOG}, so nothing confirms its figures"
    if record.verdict == "valid" and LATENCIES_FILE not in record.files and _is_timed(record):
        yield f"it has no {LATENCIES_FILE}, so nothing confirms its latencies"


def _compare_with_arrays(record: Record, harness_p50_ns: float | None) -> Iterator[str]:
    if record.result is not None and record.result.is_done and LATENCIES_FILE in record.files and _is_timed(record):
        yield from _compare_latencies(record, read_latencies(record), harness_p50_ns)


def _is_timed(record: Record) -> bool:
    """Return True for a performance run of a runtime other than null, whose calls may take less than a clock's step."""
    is_performance = record.job is not None and record.job.mode in (None, PERFORMANCE_MODE)
    return is_performance and not record.identity.is_accuracy and record.identity.runtime != NULL_RUNTIME


def _compare_latencies(record: Record, latencies: Latencies, harness_p50_ns: float | None) -> Iterator[str]:
    """Compare the raw durations with LoadGen's figures."""
    log = {} if record.result is None else record.result.loadgen
    scenario = record.loadgen_scenario
    limits = OverheadLimits.choose(harness_p50_ns)
    if scenario == SINGLE_STREAM:
        keys = {percent: f"result_{percent}_percentile_latency_ns" for percent in PERCENTS}
        yield from _compare_percentiles(latencies.call_ns, log, keys, limits)
    elif scenario == SERVER:  # queries wait for one another, so LoadGen's latencies have no upper limit
        keys = {percent: f"result_{percent}_percentile_latency_ns" for percent in PERCENTS}
        yield from _compare_percentiles(latencies.call_ns, log, keys, None)
        # LoadGen's time includes the wait for the first query, whose arrival is random.
        yield from _compare_span(latencies, log.get("result_completed_samples_per_sec"), longest=1.5)
    elif scenario == MULTI_STREAM:
        samples = log.get("generated_samples_per_query")
        if isinstance(samples, int) and samples > 0 and len(latencies.call_ns) % samples == 0:
            keys = {percent: f"result_{percent}_percentile_per_query_latency_ns" for percent in PERCENTS}
            per_query_ns = latencies.call_ns.reshape(-1, samples).sum(axis=1)
            wider = OverheadLimits(limits.share, samples * limits.floor_ns)
            yield from _compare_percentiles(per_query_ns, log, keys, wider)
    elif scenario == OFFLINE:
        yield from _compare_span(latencies, log.get("result_samples_per_second"), longest=1.1)


def _compare_percentiles(
    durations_ns: Array, log: Mapping[str, Any], keys: Mapping[str, str], limits: OverheadLimits | None
) -> Iterator[str]:
    """Compare percentiles: LoadGen sees every inference and its own overhead, so its latencies are longer, not much.

    The upper limit holds for the median only: a disturbed machine may delay single queries outside of the inference.
    """
    ordered = np.sort(durations_ns)
    for percent, key in keys.items():
        logged = log.get(key)
        if not isinstance(logged, int | float):
            continue
        index = max(0, int(len(ordered) * float(percent) / 100) - 1)
        own = float(ordered[index])
        if own * (1 - CLOCK_SHARE) - CLOCK_FLOOR_NS > logged:
            yield f"percentile {percent} of the raw durations is {own:,.0f} ns, above LoadGen's {logged:,.0f} ns"
        elif limits and percent == "50.00" and own + limits.floor_ns + limits.share * logged < logged:
            yield f"the median of the raw durations is {own:,.0f} ns, far below LoadGen's {logged:,.0f} ns"


def _compare_span(latencies: Latencies, samples_per_s: object, *, longest: float) -> Iterator[str]:
    """Compare the time in LoadGen's throughput with the time that the raw durations cover. `longest` is their ratio."""
    if not isinstance(samples_per_s, int | float) or samples_per_s <= 0:
        return
    logged_ns, span_ns = len(latencies.call_ns) * 1e9 / samples_per_s, latencies.span_ns
    if not 0.9 * span_ns - SPAN_FLOOR_NS <= logged_ns <= longest * span_ns + SPAN_FLOOR_NS:
        yield (
            f"{samples_per_s:,.2f} samples per second are {logged_ns / 1e9:.3f} s, but the raw durations cover "
            f"{span_ns / 1e9:.3f} s"
        )


def read_evidence(record: Record) -> dict[str, Array]:
    """Return the evidence of a record's quality.

    Raises ArtifactError for arrays that are damaged, and for a proportion that differs from its hits. The metric itself
    is not at hand here: bench/recheck.py computes other qualities again.
    """
    quality = record.quality
    evidence = record.load_evidence()
    if quality is None or not quality.description.is_proportion:
        return evidence
    hits = evidence.get(CORRECT)
    if hits is None or hits.dtype != bool or hits.ndim != 1:
        shown = "missing" if hits is None else f"of type {hits.dtype} and shape {hits.shape}"
        raise ArtifactError(f"the evidence in {record.directory} is damaged: its hits are {shown}. {MEASURE_AGAIN}")
    expected = estimate_proportion(int(hits.sum()), quality.units)
    if quality.estimate != expected:
        raise ArtifactError(
            f"the evidence in {record.directory} is damaged: its hits give {expected.value:.6f} ({expected.low:.6f} to "
            f"{expected.high:.6f}), and the record has {quality.value:.6f} ({quality.low:.6f} to {quality.high:.6f}). "
            f"{MEASURE_AGAIN}"
        )
    return evidence
