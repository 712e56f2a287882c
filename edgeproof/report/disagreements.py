"""Find artifacts whose quality is worse than that of the same model and scheme on another runtime or device."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from edgeproof.report.quality_runs import QualityRun, compare_evidence
from edgeproof.report.row import RowKey
from edgeproof.statistics import proportions
from edgeproof.statistics.metric import Metric

# The probability of at least one false alarm in all comparisons between runtimes.
ALPHA = 0.01
# Each runtime has its own quantizer, so integer models of one scheme differ. Differences in quality up to these are
# allowed, in the metric's natural unit: 0.01 is one point of accuracy.
TOLERANCE, INT4_TOLERANCE = 0.01, 0.05
UNQUANTIZED = ("fp32", "fp16")
# Engines add in different orders. The rounding errors rarely change a decision. But they change all scores that a
# set-level metric is computed from, and in the same direction, so even a negligible difference is significant.
SCORE_TOLERANCE = 0.002

# The p-value, the artifact with the worse quality, and the one with the better quality.
SuspiciousPair = tuple[float, RowKey, RowKey]


def find_disagreements(runs: Mapping[RowKey, QualityRun | None]) -> dict[RowKey, str]:
    """Return the artifacts that are significantly worse than on another runtime or device, each with the reason.

    The test is McNemar's exact test on the units that only one of two artifacts gets right. For a metric that is not a
    proportion, it is a paired bootstrap. Both are corrected for all pairs (Holm 1979). Quantized schemes may differ by
    TOLERANCE, and by INT4_TOLERANCE at 4 bits, where the quality depends on which layers a quantizer skips. Tolerances
    are in the metric's natural unit. Where less is better, they are shares of the better quality, because such an error
    has no upper limit.

    Args:
        runs: for each artifact its quality run; None without a valid one.
    """
    known = {key: run for key, run in runs.items() if run is not None}
    groups: dict[tuple[str, str, str, int], list[RowKey]] = defaultdict(list)
    for key in sorted(known):
        groups[key.model, key.scheme, known[key].metric_name, known[key].units].append(key)
    pairs = [pair for keys in groups.values() for pair in _find_suspicious_pairs(keys, known)]
    total = sum(len(keys) * (len(keys) - 1) // 2 for keys in groups.values())
    reasons: dict[RowKey, str] = {}
    for rank, (p_value, low, high) in enumerate(sorted(pairs)):
        if p_value * (total - rank) > ALPHA:
            break
        if _is_tolerated(known[low], known[high], low[3]):
            continue
        other = f"{high[1]} on {high[0]}" if high[0] != low[0] else high[1]
        reasons.setdefault(low, _format_reason(known[low], known[high], other, p_value))
    return reasons


def _format_reason(low: QualityRun, high: QualityRun, other: str, p_value: float) -> str:
    metric = low.metric
    difference = metric.format_difference(high.value - low.value)
    return f"{metric.label} is {difference} {metric.worse_side} that of {other} (p = {p_value:.1g})"


def _is_tolerated(low: QualityRun, high: QualityRun, scheme: str) -> bool:
    unit = abs(high.value) if high.metric.better == "less" else 1.0
    return abs(high.value - low.value) <= _get_tolerance(high.metric, scheme) * unit


def _get_tolerance(metric: Metric, scheme: str) -> float:
    if scheme in UNQUANTIZED:
        return 0.0 if metric.interval == "wilson" else SCORE_TOLERANCE
    return INT4_TOLERANCE if scheme.startswith("int4") else TOLERANCE


def _find_suspicious_pairs(keys: Sequence[RowKey], runs: Mapping[RowKey, QualityRun]) -> list[SuspiciousPair]:
    """Return the pairs with an uncorrected p-value of at most ALPHA."""
    if all(runs[key].hits is not None for key in keys):
        return _compare_proportions(keys, runs)
    return _compare_evidence(keys, runs)


def _compare_proportions(keys: Sequence[RowKey], runs: Mapping[RowKey, QualityRun]) -> list[SuspiciousPair]:
    # Devices that run the same engine give the same answers: each distinct set of answers is compared once.
    distinct: dict[bytes, int] = {}
    kind = np.array([distinct.setdefault(np.asarray(runs[key].hits).tobytes(), len(distinct)) for key in keys])
    right = np.array([np.frombuffer(answers, bool) for answers in distinct], np.float32)  # exact for sums up to 2**24
    both = right @ right.T
    only = np.diag(both)[:, None] - both
    one, two = np.triu_indices(len(keys), 1)
    p_values = proportions.compute_mcnemar_p_values(only, only.T)[kind[one], kind[two]]
    less = only[kind[one], kind[two]] < only[kind[two], kind[one]]
    low, high = np.where(less, one, two), np.where(less, two, one)
    return [(float(p_values[n]), keys[low[n]], keys[high[n]]) for n in np.flatnonzero(p_values <= ALPHA)]


def _compare_evidence(keys: Sequence[RowKey], runs: Mapping[RowKey, QualityRun]) -> list[SuspiciousPair]:
    """Compare by bootstraps. They take long, so tolerated pairs are skipped, and equal evidence is compared once."""
    p_values: dict[tuple[str, str], float] = {}
    pairs = []
    for one, two in itertools.combinations(keys, 2):
        is_better = runs[one].metric.is_better(runs[one].value, runs[two].value)
        low, high = (two, one) if is_better else (one, two)
        if _is_tolerated(runs[low], runs[high], low[3]):
            continue
        digests = runs[low].digest, runs[high].digest
        if digests not in p_values:
            difference = compare_evidence(runs[low], runs[high])
            p_values[digests] = 1.0 if difference is None else difference.p_value
        if p_values[digests] <= ALPHA:
            pairs.append((p_values[digests], low, high))
    return pairs
