"""A/B: is one thing slower than the other? The process is the unit of replication.

Two sets of processes are compared by the logarithms of each process's percentile, one number a process: calls within
one process share its memory layout and its moment, and a thousand of them say nothing about the next process.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy  # loads stats when it is first used

from edgeproof.core.errors import EdgeproofError
from edgeproof.statistics.intervals import CONFIDENCE, Array, Estimate, log_percentiles, needed

ALPHA = 0.05
POWER = 0.80
FEWEST_PROCESSES = 3

_EXACT = 50  # up to so many processes a side the rank tests are exact
_DIGITS = 12  # logarithms are told apart to so many: what is less is rounding

Verdict = Literal["slower", "faster", "no difference shown", "too few processes"]
Correction = Literal["holm", "benjamini-hochberg"]


class Unlike(EdgeproofError):
    """Two measurements were taken under different conditions."""


@dataclass(frozen=True)
class Comparison:
    """How b compares with a.

    Attributes:
        ratio: b/a of the percentiles' geometric means, with its 95% interval: above 1, b takes longer. The interval is
            that of this comparison alone, whatever others it was corrected with.
        p_value: Student's t on the logarithms, against a ratio within the margin.
        p_value_rank: Wilcoxon's (paired) or Mann and Whitney's (unpaired) test of the same.
        p_adjusted: `p_value`, corrected for the comparisons made with this one.
        processes: how many of a and of b have enough durations for the percentile.
        smallest_detectable_ratio: the slowdown that as many processes of the same spread show 4 times out of 5.
        margin: ratios from 1/(1 + margin) to 1 + margin count as no difference.
        verdict: of b, against a.
    """

    percent: float
    paired: bool
    ratio: Estimate
    p_value: float
    p_value_rank: float
    p_adjusted: float
    processes: tuple[int, int]
    smallest_detectable_ratio: float
    margin: float
    verdict: Verdict


def compare(
    a: Sequence[Array], b: Sequence[Array], *, percent: float = 50, paired: bool, margin: float = 0.0
) -> Comparison:
    """Compare two sets of processes, each process given as its raw durations in ns.

    Paired, a[i] and b[i] come from the same round of an interleaved session: Student's t on the differences of the
    logarithms. Unpaired: Welch's t ("The generalization of 'Student's' problem when several different population
    variances are involved", 1947).

    A difference is shown where p < 0.05, and the rank test must agree wherever so many processes can reach that at
    all. Student's t trusts the processes' percentiles to be about log-normal, which a handful can't prove: where the
    rank test, which trusts nothing, is able to confirm it, a claim that rests on that trust alone is not made. With 3
    processes a side (or up to 5 rounds, paired) it never could, and Student's t decides alone. Where nothing varies
    there is no t, and the rank test decides alone.

    With a margin, a difference is shown only where the whole interval lies beyond it: every test is then one against
    the margin's nearer end.

    The smallest detectable ratio is exp((t(97.5%) + t(80%)) · standard error) with the test's degrees of freedom
    (Bloom: "Minimum detectable effects", Evaluation Review 19, 1995), times 1 + margin. That is Student's t alone:
    the rank test's agreement costs a few of the 80 points, and so does a correction for many comparisons.

    A process with fewer durations than the percentile needs refuses the whole comparison: to leave it out would leave
    out the slowest, which does least in a given time. What can't be told is nan, and the verdict "too few processes".
    """
    enough = tuple(sum(len(durations) >= needed(percent) for durations in side) for side in (a, b))
    ours, theirs = log_percentiles(b, percent), log_percentiles(a, percent)
    if ours is None or theirs is None:
        _check(len(a), len(b), paired, margin)
        return _undecided(percent, paired, (enough[0], enough[1]), margin)
    return compare_logs(theirs, ours, percent=percent, paired=paired, margin=margin)


def compare_logs(
    a: Sequence[float] | Array, b: Sequence[float] | Array, *, percent: float = 50, paired: bool, margin: float = 0.0
) -> Comparison:
    """The same from the logarithms of each process's percentile, where those are known already."""
    _check(len(a), len(b), paired, margin)
    comparison = _undecided(percent, paired, (len(a), len(b)), margin)
    if min(len(a), len(b)) == 0:
        return comparison
    return _tested(comparison, np.round(np.asarray(a), _DIGITS), np.round(np.asarray(b), _DIGITS))


def _check(n_a: int, n_b: int, paired: bool, margin: float) -> None:
    if paired and n_a != n_b:
        raise ValueError(f"a paired comparison needs as many processes of a as of b, not {n_a} and {n_b}")
    if not 0 <= margin < math.inf:
        raise ValueError(f"a margin is a share such as 0.02, not {margin}")


def _undecided(percent: float, paired: bool, processes: tuple[int, int], margin: float) -> Comparison:
    return Comparison(
        percent=percent,
        paired=paired,
        ratio=Estimate(math.nan, math.nan, math.nan),
        p_value=math.nan,
        p_value_rank=math.nan,
        p_adjusted=math.nan,
        processes=processes,
        smallest_detectable_ratio=math.nan,
        margin=margin,
        verdict="too few processes",
    )


def corrected(comparisons: Sequence[Comparison], *, method: Correction = "holm") -> list[Comparison]:
    """The comparisons with p-values adjusted for being made together, and verdicts by these.

    'holm' keeps the chance of any false alarm among them at 5% (Holm: "A simple sequentially rejective multiple test
    procedure", 1979); 'benjamini-hochberg' keeps the expected share of false alarms among the differences shown.
    Comparisons of too few processes are not counted: they can raise no alarm. The rank test confirms at its own 5%:
    the correction holds without it, and ten processes could never reach a hundredth of that.
    """
    told = [comparison for comparison in comparisons if comparison.verdict != "too few processes"]
    p_values = [comparison.p_value for comparison in told]
    if not told:
        return list(comparisons)
    adjusted = _holm(p_values) if method == "holm" else scipy.stats.false_discovery_control(p_values, method="bh")
    values = iter(adjusted)
    return [
        comparison
        if comparison.verdict == "too few processes"
        else _judged(replace(comparison, p_adjusted=next(values)))
        for comparison in comparisons
    ]


def check_alike(a: Mapping[str, Any], b: Mapping[str, Any], *, allow_unlike: bool) -> list[str]:
    """What differs between two fingerprints. Raises Unlike where anything does and that was not allowed."""
    differences = unlike(a, b)
    if differences and not allow_unlike:
        raise Unlike(
            f"measured under unlike conditions: {'; '.join(differences)}. Measure both under the same, or compare them "
            "nevertheless with --unlike: the table then says what differs."
        )
    return differences


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The conditions that differ, as 'key: a → b' with dotted keys of nested ones."""
    ours, theirs = dict(_flat(a)), dict(_flat(b))
    return [
        f"{key}: {_shown(ours, theirs, key)} → {_shown(theirs, ours, key)}"
        for key in sorted({*ours, *theirs})
        if (key in ours) != (key in theirs) or ours[key] != theirs[key]
    ]


def _tested(comparison: Comparison, a: Array, b: Array) -> Comparison:
    difference = float(b.mean() - a.mean())
    margin = math.log1p(comparison.margin)
    # Against the nearer end of the margin; within it, against the difference itself, of which nothing is left.
    shift = min(max(difference, -margin), margin)
    shifted = b - shift
    p_rank = _rank_p_value(a, shifted, comparison.paired)
    low = high = detectable = math.nan
    p_value = p_rank
    if _varies(a, shifted, comparison.paired):
        with warnings.catch_warnings():  # one side may be constant: Welch's test needs only the other's variance
            warnings.simplefilter("ignore", RuntimeWarning)
            t = (
                scipy.stats.ttest_rel(shifted, a)
                if comparison.paired
                else scipy.stats.ttest_ind(shifted, a, equal_var=False)
            )
        interval = t.confidence_interval(CONFIDENCE)
        low, high, p_value = math.exp(interval.low + shift), math.exp(interval.high + shift), float(t.pvalue)
        point = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, t.df))
        error = float(interval.high - interval.low) / 2 / point
        detectable = math.exp(margin + (point + float(scipy.stats.t.ppf(POWER, t.df))) * error)
    return _judged(
        replace(
            comparison,
            ratio=Estimate(math.exp(difference), low, high),
            p_value=p_value,
            p_value_rank=p_rank,
            p_adjusted=p_value,
            smallest_detectable_ratio=detectable,
        )
    )


def _varies(a: Array, b: Array, paired: bool) -> bool:
    """Whether there is a variance to test against: two processes a side, and more than rounding between them."""
    if min(len(a), len(b)) < 2:
        return False
    sides = [b - a] if paired else [a, b]
    return any(float(np.ptp(side)) > 10.0 ** (1 - _DIGITS) for side in sides)


def _rank_p_value(a: Array, b: Array, paired: bool) -> float:
    """Wilcoxon's signed ranks or Mann and Whitney's U. Exact ones are conservative where values tie."""
    method = "exact" if max(len(a), len(b)) <= _EXACT else "asymptotic"
    if not paired:
        return float(scipy.stats.mannwhitneyu(np.round(b, _DIGITS), np.round(a, _DIGITS), method=method).pvalue)
    differences = np.round(b - a, _DIGITS)
    return float(scipy.stats.wilcoxon(differences, method=method).pvalue) if differences.any() else 1.0


def _least_rank_p_value(n_a: int, n_b: int, paired: bool) -> float:
    """The p-value when every process of one side is slower: what the rank test reaches at most."""
    return 2 / 2**n_a if paired else 2 / math.comb(n_a + n_b, n_a)


def _judged(comparison: Comparison) -> Comparison:
    return replace(comparison, verdict=_verdict(comparison))


def _verdict(comparison: Comparison) -> Verdict:
    if min(comparison.processes) < FEWEST_PROCESSES:
        return "too few processes"
    confirmable = _least_rank_p_value(*comparison.processes, comparison.paired) < ALPHA
    if comparison.p_adjusted >= ALPHA or (confirmable and comparison.p_value_rank >= ALPHA):
        return "no difference shown"
    return "slower" if comparison.ratio.value > 1 else "faster"


def _holm(p_values: Sequence[float]) -> Array:
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _flat(conditions: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in conditions.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(ours: Mapping[str, Any], theirs: Mapping[str, Any], key: str) -> str:
    """One side's condition as text; in quotes where both sides would otherwise read the same, such as 1 and '1'."""
    if key not in ours:
        return "absent"
    text, other = (side[key] if isinstance(side.get(key), str) else _json(side.get(key)) for side in (ours, theirs))
    return _json(ours[key]) if text == other else text


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
