"""Find artifacts that are less accurate in one runtime or device than the same model and scheme in another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from edgeproof.report.row import RowKey
from edgeproof.statistics import proportions
from edgeproof.statistics.estimates import Array

# Chance that one of all comparisons between runtimes is a false alarm.
ALPHA = 0.01
# Each runtime quantizes by itself, so integer models of one scheme differ. Smaller differences in accuracy are allowed.
TOLERANCE, INT4_TOLERANCE = 0.01, 0.05
UNQUANTIZED = ("fp32", "fp16")


def find_disagreements(hits: Mapping[RowKey, Array | None]) -> dict[RowKey, str]:
    """Return the artifacts that are significantly less accurate than their equals elsewhere, each with the reason.

    The test is McNemar's exact test on the samples that only one of two artifacts gets right, corrected for all pairs
    (Holm 1979). Quantized schemes may differ by TOLERANCE, and by INT4_TOLERANCE at 4 bits, where the accuracy depends
    on which layers a quantizer skips.

    Args:
        hits: for each artifact, whether it got each test sample right, (N,) bool; None without a valid accuracy run.
    """
    known = {key: array for key, array in hits.items() if array is not None}
    groups: dict[tuple[str, str, int], list[RowKey]] = defaultdict(list)
    for key in sorted(known):
        groups[key[2], key[3], len(known[key])].append(key)
    pairs = [pair for keys in groups.values() for pair in _find_suspicious_pairs(keys, known)]
    total = sum(len(keys) * (len(keys) - 1) // 2 for keys in groups.values())
    reasons: dict[RowKey, str] = {}
    for rank, (p_value, low, high) in enumerate(sorted(pairs)):
        if p_value * (total - rank) > ALPHA:
            break
        difference = float(known[high].mean() - known[low].mean())
        if difference > _get_tolerance(low[3]):
            other = f"{high[1]} on {high[0]}" if high[0] != low[0] else high[1]
            reason = f"accuracy is {100 * difference:.2f} points below that of {other} (p = {p_value:.1g})"
            reasons.setdefault(low, reason)
    return reasons


def _get_tolerance(scheme: str) -> float:
    if scheme in UNQUANTIZED:
        return 0.0
    return INT4_TOLERANCE if scheme.startswith("int4") else TOLERANCE


def _find_suspicious_pairs(keys: Sequence[RowKey], hits: Mapping[RowKey, Array]) -> list[tuple[float, RowKey, RowKey]]:
    """Return the pairs with an uncorrected p-value of at most ALPHA, as (p-value, less accurate one, other)."""
    # Devices that run the same engine give the same answers: each distinct set of answers is compared once.
    distinct: dict[bytes, int] = {}
    kind = np.array([distinct.setdefault(hits[key].tobytes(), len(distinct)) for key in keys])
    right = np.array([np.frombuffer(answers, bool) for answers in distinct], np.float32)  # exact for sums up to 2**24
    both = right @ right.T
    only = np.diag(both)[:, None] - both
    one, two = np.triu_indices(len(keys), 1)
    p_values = proportions.compute_mcnemar_p_values(only, only.T)[kind[one], kind[two]]
    less = only[kind[one], kind[two]] < only[kind[two], kind[one]]
    low, high = np.where(less, one, two), np.where(less, two, one)
    return [(float(p_values[n]), keys[low[n]], keys[high[n]]) for n in np.flatnonzero(p_values <= ALPHA)]
