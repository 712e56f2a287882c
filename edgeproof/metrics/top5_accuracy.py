"""Top-5 accuracy: the share of samples whose class is among the five with the highest scores."""

from __future__ import annotations

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.evidence import compute_share, require_class_scores
from edgeproof.statistics.metric import CORRECT, Array, Evidence, Metric

METRIC = Metric(label="top-5 accuracy", unit="%", scale=100.0, digits=2, interval="wilson")
CLASSES = 5


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return whether each sample is right, from one output (N, classes) and classes (N,).

    Of equal scores the later class counts, as in scikit-learn. Raises DataError for outputs of five classes or fewer,
    of which every sample would be right.
    """
    scores = require_class_scores(METRIC.label, outputs, targets)
    if scores.shape[1] <= CLASSES:
        raise DataError(
            f"{METRIC.label} needs more than {CLASSES} classes, and the output has {scores.shape[1]}. Use 'accuracy'."
        )
    best = np.argsort(scores, axis=1, kind="stable")[:, -CLASSES:]
    return {CORRECT: (best == np.asarray(targets)[:, None]).any(axis=1)}


def compute(evidence: Evidence) -> float:
    """Return the share of correct samples."""
    return compute_share(evidence)
