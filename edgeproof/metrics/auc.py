"""AUC: the area under the ROC curve.

It is the probability that a positive sample has a higher score than a negative one.

Source: Hanley, McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
Radiology 143, 1982. sklearn.metrics.roc_auc_score gives the same values.
"""

from __future__ import annotations

from edgeproof.statistics import roc
from edgeproof.statistics.metric import Array, Evidence, Metric

METRIC = Metric(label="AUC", digits=3)


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return 'scores' (N,) and 'positive' (N,) bool of the samples, from one output and targets that are 0 or 1.

    An output (N,) or (N, 1) is the score of the positive class, (N, 2) has a score for each class. Raises DataError for
    anything else.
    """
    return roc.collect_scores(METRIC.label, outputs, targets)


def compute(evidence: Evidence) -> float:
    """Return the area. Raises DataError without a positive or without a negative sample."""
    return roc.compute_area(*roc.trace_curve(evidence))
