"""Outputs, targets and evidence that do not fit a metric raise one DataError that says what is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import DataError, UnknownNameError
from edgeproof.statistics import bootstrap

SCORES = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])
BINARY = np.array([0, 1, 0, 1, 0, 1])
BOX, ROW = [1.0, 0, 0, 9, 9], [0.0, 0, 9, 9, 0.5, 1]
BOXES, ROWS = np.tile(np.float32(BOX), (2, 1, 1)), np.tile(np.float32(ROW), (2, 1, 1))


def put(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "message"),
    [
        ("accuracy", (SCORES,), LABELS[:5], r"needs a target for each sample, and 5 target\(s\) came for \(6, 3\)"),
        (
            "accuracy",
            (SCORES,),
            LABELS.astype(float),
            "needs a whole number for each sample, and the targets are float",
        ),
        ("accuracy", (SCORES,), LABELS[:, None], r"the targets are int64 of shape \(6, 1\)"),
        ("accuracy", (SCORES,), LABELS + 1, "the output has 3 classes, and the targets go from 1 to 3"),
        ("accuracy", (SCORES,), LABELS - 1, "the targets go from -1 to 1"),
        ("accuracy", (put(SCORES, (2, 0), np.nan),), LABELS, "1 of 6 outputs hold NaN or infinity"),
        ("accuracy", (SCORES, SCORES), LABELS, "is computed from one output, and there are 2"),
        ("accuracy", (), LABELS, "is computed from one output, and there are 0"),
        ("accuracy", (SCORES[..., None] + np.zeros(2),), LABELS, r"needs an output \(N, classes\)"),
        ("accuracy", (SCORES > 0,), LABELS, "needs numbers, and the output is bool"),
        ("accuracy", (SCORES[:0],), LABELS[:0], "zero-size|needs a target for each sample"),
        ("top5_accuracy", (SCORES,), LABELS, "needs more than 5 classes, and the output has 3. Use 'accuracy'"),
        ("macro_f1", (SCORES[:, 0],), LABELS, r"needs an output \(N, classes\)"),
        ("auc", (SCORES[:, 0],), LABELS, r"needs a target of 0 or 1 for each sample, and they are .* from 0 to 2"),
        ("auc", (SCORES,), BINARY, r"needs an output \(N,\), \(N, 1\) or \(N, 2\)"),
        ("auc", (SCORES[:, 0],), BINARY.astype(float), "needs a target of 0 or 1"),
        ("partial_auc", (put(SCORES[:, 0], (0,), np.inf),), BINARY, "hold NaN or infinity"),
        ("rmse", (SCORES,), LABELS.astype(float), "both need the same shape"),
        ("rmse", (SCORES,), put(SCORES, (0, 0), np.nan), "needs targets that are finite numbers"),
        ("map_50", (SCORES,), LABELS, r"needs targets \(N, B, 5\)"),
        ("map_50", (SCORES,), BOXES, r"needs one output \(N, D, 6\)"),
        ("map_50", (ROWS[:1],), BOXES, "needs the boxes of each picture, and there are 2 for 1 output"),
        ("map_50", (put(ROWS, (0, 0, 2), np.nan),), BOXES, "a detection holds NaN"),
        ("map_50", (put(ROWS, (0, 0, 4), -0.5),), BOXES, "a detection has a negative score"),
        ("map_50", (put(ROWS, (0, 0, 5), 1.5),), BOXES, "a detection has the class"),
        ("map_50", (put(ROWS, (0, 0, 5), -2),), BOXES, "a detection has the class"),
        ("map_50_95", (ROWS,), put(BOXES, (0, 0, 0), -3), "a target has the class"),
        ("map_50_95", (ROWS,), put(BOXES, (0, 0, 3), 0), "a box in the targets is empty or inverted"),
        ("map_50_95", (ROWS,), np.full_like(BOXES, -1), r"none of 2 picture\(s\) has a box"),
    ],
)
def test_input_that_does_not_fit_raises_what_is_needed(
    metric: str, outputs: tuple[np.ndarray, ...], targets: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        plugins.load("metrics", metric).collect(outputs, targets)


@pytest.mark.parametrize(
    ("metric", "evidence", "message"),
    [
        ("accuracy", {"correct": np.ones(5)}, r"'correct' in the evidence is float64 of shape \(5,\), expected bool"),
        ("accuracy", {"hits": np.ones(5, bool)}, "the evidence has no 'correct'. It has: hits"),
        ("accuracy", {"correct": np.ones((5, 2), bool)}, "expected bool, 1 axes"),
        ("accuracy", {"correct": np.ones(0, bool)}, "is empty"),
        ("auc", {"scores": np.arange(4.0), "positive": np.arange(4) / 4}, "'positive' in the evidence is float64"),
        ("auc", {"scores": np.arange(4.0), "positive": np.zeros(4, bool)}, "none of 4 samples is positive"),
        ("auc", {"scores": np.arange(4.0), "positive": np.ones(4, bool)}, "none of 4 samples is negative"),
        ("auc", {"scores": np.full(4, np.nan), "positive": np.arange(4) > 1}, "holds NaN or infinity"),
        ("macro_f1", {"predicted": np.zeros(3, int), "labels": np.full(3, -1)}, "needs classes from 0"),
        ("rmse", {"squared_error": np.array([-1.0])}, "needs squared errors"),
    ],
)
def test_evidence_that_does_not_fit_raises_what_is_needed(metric: str, evidence: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plugins.load("metrics", metric).compute(evidence)


def test_an_unknown_metric_is_answered_with_those_that_exist_and_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown metric 'map50'\. Did you mean 'map_50'\? Known: accuracy, auc"
    ):
        plugins.load("metrics", "map50")


def test_a_single_positive_sample_is_missing_in_some_resamples_which_are_left_out() -> None:
    auc = plugins.load("metrics", "auc")
    evidence = {"scores": np.arange(30.0), "positive": np.arange(30) == 20}
    estimate = bootstrap.estimate_quality(auc.compute, evidence)
    assert estimate.low <= estimate.value <= estimate.high


def test_scores_of_both_classes_rank_like_the_probability_of_the_second() -> None:
    auc = plugins.load("metrics", "auc")
    logits = np.random.default_rng(2).standard_normal((50, 2))
    targets = np.arange(50) % 3 == 0
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    qualities = {auc.compute(auc.collect((x,), targets)) for x in (logits, probabilities, probabilities[:, 1])}
    assert len(qualities) == 1
