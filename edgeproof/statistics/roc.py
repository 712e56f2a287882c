"""The ROC curve: the true positive rate over the false positive rate, for every threshold of a score.

Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
"""

from __future__ import annotations

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.evidence import get_array, require_single_output
from edgeproof.statistics.metric import Array, Evidence

# The keys of the evidence: the score of each unit, and whether it is positive.
SCORES, POSITIVE = "scores", "positive"


def collect_scores(label: str, outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return scores (N,) and positives (N,) bool, from one output (N,), (N, 1) or (N, 2) and targets of 0 and 1.

    Of two scores the difference counts, which orders logits and probabilities alike. Raises DataError.
    """
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.dtype.kind not in "biu" or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"{label} needs a target of 0 or 1 for each sample, and they are {labels.dtype} of shape {labels.shape}"
            f"{f' from {labels.min()} to {labels.max()}' if labels.size else ''}."
        )
    output = require_single_output(label, outputs, len(labels))
    values = output.reshape(len(output), -1).astype(np.float64)
    if output.ndim > 2 or values.shape[1] not in (1, 2):
        raise DataError(f"{label} needs an output (N,), (N, 1) or (N, 2), and it has the shape {output.shape}.")
    scores = values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]
    return {SCORES: scores, POSITIVE: labels.astype(bool)}


def trace_curve(evidence: Evidence) -> tuple[Array, Array]:
    """Return the false and the true positive rates of the curve, from (0, 0) to (1, 1), one point for each score.

    Raises DataError without a positive or without a negative unit.
    """
    scores, positive = get_array(evidence, SCORES, kinds="f"), get_array(evidence, POSITIVE, kinds="b")
    positives = int(positive.sum())
    if positives in (0, len(positive)):
        missing = "positive" if positives == 0 else "negative"
        raise DataError(f"there is no ROC curve: none of {len(positive)} samples is {missing}.")
    order = np.argsort(-scores)
    ranked = scores[order]
    is_last = np.ones(len(ranked), bool)  # of equal scores, whose order says nothing
    np.not_equal(ranked[1:], ranked[:-1], out=is_last[:-1])
    ends = is_last.nonzero()[0]
    true_positives = np.zeros(len(ends) + 1)
    true_positives[1:] = positive[order].cumsum()[ends]
    counts = np.zeros(len(ends) + 1)
    counts[1:] = ends + 1
    return (counts - true_positives) / (len(positive) - positives), true_positives / positives


def compute_area(false_rates: Array, true_rates: Array, *, limit: float = 1.0) -> float:
    """Return the area under the curve up to a false positive rate, by the trapezoidal rule."""
    if limit < 1.0:
        stop = int(np.searchsorted(false_rates, limit, side="right"))
        last = np.interp(limit, false_rates[stop - 1 : stop + 1], true_rates[stop - 1 : stop + 1])
        false_rates, true_rates = np.append(false_rates[:stop], limit), np.append(true_rates[:stop], last)
    heights, widths = (true_rates[1:] + true_rates[:-1]) / 2, false_rates[1:] - false_rates[:-1]
    return float(heights @ widths)
