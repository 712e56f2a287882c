"""Partial AUC: the area under the ROC curve up to a false positive rate of 0.1.

It is scaled, so that chance gives 0.5 and the best detector 1. It tells how well a detector works with few false
alarms. DCASE's task on anomalous sounds is judged by it too.

Source: McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9, 1989.
sklearn.metrics.roc_auc_score(max_fpr=0.1) gives the same values.
"""

from __future__ import annotations

from edgeproof.statistics import roc
from edgeproof.statistics.metric import Array, Evidence, Metric

METRIC = Metric(label="partial AUC", digits=3)
MAX_FALSE_POSITIVE_RATE = 0.1


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return 'scores' (N,) and 'positive' (N,) bool of the samples, from the same outputs and targets as AUC."""
    return roc.collect_scores(METRIC.label, outputs, targets)


def compute(evidence: Evidence) -> float:
    """Return the scaled area. Raises DataError without a positive or without a negative sample."""
    area = roc.compute_area(*roc.trace_curve(evidence), limit=MAX_FALSE_POSITIVE_RATE)
    chance = MAX_FALSE_POSITIVE_RATE**2 / 2
    return 0.5 * (1 + (area - chance) / (MAX_FALSE_POSITIVE_RATE - chance))
