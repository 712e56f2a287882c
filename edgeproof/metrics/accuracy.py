"""Accuracy: the share of samples whose class has the highest score."""

from __future__ import annotations

from edgeproof.statistics.evidence import compute_share, require_class_scores
from edgeproof.statistics.metric import CORRECT, Array, Evidence, Metric

METRIC = Metric(label="accuracy", unit="%", scale=100.0, digits=2, interval="wilson")


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return whether each sample is right, from one output (N, classes) and classes (N,). Raises DataError.

    Of equal scores the first class counts.
    """
    scores = require_class_scores(METRIC.label, outputs, targets)
    return {CORRECT: scores.argmax(axis=1) == targets}


def compute(evidence: Evidence) -> float:
    """Return the share of correct samples."""
    return compute_share(evidence)
