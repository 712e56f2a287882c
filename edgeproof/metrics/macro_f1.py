"""Macro F1: the mean over all classes of the harmonic mean of precision and recall.

Classes that are neither predicted nor present are left out, as in sklearn.metrics.f1_score(average="macro"). The
formula is here because an interval needs a thousand evaluations, and that function takes many times as long.
"""

from __future__ import annotations

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.evidence import get_array, require_class_scores
from edgeproof.statistics.metric import Array, Evidence, Metric

METRIC = Metric(label="macro F1", digits=3)

PREDICTED, LABELS = "predicted", "labels"


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return the predicted and the true class of each sample, from one output (N, classes) and classes (N,).

    Raises DataError for anything else.
    """
    scores = require_class_scores(METRIC.label, outputs, targets)
    return {PREDICTED: scores.argmax(axis=1).astype(np.int32), LABELS: np.asarray(targets).astype(np.int32)}


def compute(evidence: Evidence) -> float:
    """Return the mean F1 of the classes. Raises DataError for evidence that holds no classes."""
    predicted, labels = get_array(evidence, PREDICTED, kinds="iu"), get_array(evidence, LABELS, kinds="iu")
    if min(predicted.min(), labels.min()) < 0:
        raise DataError(f"{METRIC.label} needs classes from 0, and the evidence has negative ones.")
    classes = int(max(predicted.max(), labels.max())) + 1
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is the number of predictions and of labels of the class.
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    total = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    present = total > 0
    return float((2 * hits[present] / total[present]).mean())
