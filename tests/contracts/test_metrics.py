"""Every metric equals that of another library, its evidence can be resampled, and its intervals cover the truth."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import stats
from sklearn import metrics as sklearn_metrics

from edgeproof.core import plugins
from edgeproof.core.errors import DataError
from edgeproof.statistics import bootstrap
from edgeproof.statistics.metric import CORRECT, Array, Metric, count_units, select_units

Case = tuple[tuple[Array, ...], Array]
NAMES = plugins.list_names("metrics")
CLASSES = 7
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Reference:
    """Inputs of a metric, random and degenerate, and the same metric by another library."""

    compute: Callable[[Array, Array], float]
    draw: Callable[[np.random.Generator], Iterator[Case]]


# --- classification ------------------------------------------------------------------------------------------------


def draw_classifications(rng: np.random.Generator) -> Iterator[Case]:
    for count in (1, 2, 30, 400):
        scores = rng.standard_normal((count, CLASSES)).astype(np.float32)
        labels = np.where(rng.random(count) < 0.5, scores.argmax(1), rng.integers(0, CLASSES, count))
        yield (scores,), labels
        yield (np.round(scores),), labels  # many equal scores
        yield (scores,), np.zeros(count, np.int64)  # one class only
        yield ((scores * 20).astype(np.int8),), labels.astype(np.uint8)
    yield (np.zeros((20, CLASSES), np.float32),), rng.integers(0, CLASSES, 20)
    yield (np.eye(CLASSES, dtype=np.float32),), np.arange(CLASSES)
    yield (np.eye(CLASSES, dtype=np.float32),), (np.arange(CLASSES) + 1) % CLASSES


def draw_binary(rng: np.random.Generator) -> Iterator[Case]:
    for count in (2, 3, 50, 700):
        targets = (rng.random(count) < 0.3).astype(np.int64)
        targets[:2] = 0, 1
        scores = (rng.standard_normal(count) + targets).astype(np.float32)
        yield (scores,), targets
        yield (scores[:, None],), targets.astype(bool)
        yield (np.round(scores),), targets
        yield (np.zeros(count, np.float32),), targets
        yield (targets.astype(np.float32),), targets  # perfect
        yield (-targets.astype(np.float32),), targets  # always wrong


def draw_regressions(rng: np.random.Generator) -> Iterator[Case]:
    for shape in ((1,), (40,), (40, 1), (30, 3), (10, 2, 4)):
        truth = rng.standard_normal(shape)
        yield ((truth + rng.standard_normal(shape)).astype(np.float32),), truth
        yield (truth,), truth
        yield (np.full(shape, 1e6, np.float32),), truth


def compute_top5(scores: Array, labels: Array) -> float:
    return float(sklearn_metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(scores.shape[1])))


def compute_macro_f1(scores: Array, labels: Array) -> float:
    return float(sklearn_metrics.f1_score(labels, scores.argmax(1), average="macro", zero_division=0.0))


def compute_rmse(outputs: Array, targets: Array) -> float:
    return float(sklearn_metrics.root_mean_squared_error(targets.ravel(), outputs.ravel()))


# --- detection -----------------------------------------------------------------------------------------------------


def draw_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    corner = rng.uniform(0, 80, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (*shape, 2))], axis=-1)


def draw_detections(rng: np.random.Generator, pictures: int, boxes: int, detections: int, classes: int = 3) -> Case:
    """Return pictures whose detections are boxes with noise, some of another class, and random ones."""
    targets = np.full((pictures, boxes, 5), -1.0, np.float32)
    rows = np.full((pictures, detections, 6), -1.0, np.float32)
    truth = draw_boxes(rng, (pictures, boxes))
    kinds = rng.integers(0, classes, (pictures, boxes))
    real = rng.random((pictures, boxes)) < 0.7
    targets[real] = np.concatenate([kinds[..., None], truth], axis=-1)[real]
    rows[..., :4] = draw_boxes(rng, (pictures, detections))
    copied = min(boxes, detections)
    rows[:, :copied, :4] = truth[:, :copied] + rng.normal(0, 3, (pictures, copied, 4))
    rows[..., 4] = rng.random((pictures, detections)).round(1)  # many equal scores
    rows[..., 5] = rng.integers(0, classes, (pictures, detections))
    rows[:, :copied, 5] = np.where(rng.random((pictures, copied)) < 0.8, kinds[:, :copied], rows[:, :copied, 5])
    rows[rng.random((pictures, detections)) < 0.2] = -1.0
    return (rows,), targets


def draw_pictures(rng: np.random.Generator) -> Iterator[Case]:
    for pictures, boxes, detections in ((20, 6, 12), (5, 1, 1), (3, 4, 130)):
        yield draw_detections(rng, pictures, boxes, detections)
    (rows,), targets = draw_detections(rng, 12, 4, 8)
    yield (np.full_like(rows, -1.0),), targets  # nothing is detected
    empty = targets.copy()
    empty[:6] = -1.0
    yield (rows,), empty  # pictures without boxes
    perfect = np.concatenate([targets[..., 1:], np.where(targets[..., :1] < 0, -1.0, 0.9), targets[..., :1]], axis=-1)
    yield (perfect.astype(np.float32),), targets
    unknown = rows.copy()
    unknown[..., 5] = np.where(rows[..., 4] < 0, -1, rows[..., 5] + 2)
    yield (unknown,), targets  # classes that no picture has
    inverted = rows.copy()
    inverted[::2, :, 2] = inverted[::2, :, 0] - 3  # boxes of negative size
    inverted[1::2, :, 3] = inverted[1::2, :, 1]  # boxes without an area
    yield (inverted,), targets


def compute_by_pycocotools(rows: Array, targets: Array, *, thresholds: int) -> float:
    """Return the mean average precision by pycocotools' own way, from annotations to COCOeval.accumulate()."""
    boxes = [(picture, box) for picture, own in enumerate(targets) for box in own if box[0] >= 0]
    detected = [(picture, row) for picture, own in enumerate(rows) for row in own if row[4] >= 0]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": picture} for picture in range(len(targets))],
            "categories": [{"id": kind} for kind in range(20)],
            "annotations": [
                {"id": number, "image_id": picture, "category_id": int(box[0]), "iscrowd": 0, **describe(box[1:])}
                for number, (picture, box) in enumerate(boxes, 1)
            ],
        }
        truth.createIndex()
        if not detected:
            return 0.0
        results = [
            {"image_id": picture, "category_id": int(row[5]), "score": float(row[4]), "bbox": describe(row[:4])["bbox"]}
            for picture, row in detected
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:thresholds, :, :, 0, -1]
    return float(precision[precision > -1].mean())


def describe(corners: Array) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in corners)
    return {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}


REFERENCES = {
    "accuracy": Reference(
        lambda scores, labels: float(sklearn_metrics.accuracy_score(labels, scores.argmax(1))), draw_classifications
    ),
    "top5_accuracy": Reference(compute_top5, draw_classifications),
    "macro_f1": Reference(compute_macro_f1, draw_classifications),
    "auc": Reference(
        lambda scores, targets: float(sklearn_metrics.roc_auc_score(targets, scores.ravel())), draw_binary
    ),
    "partial_auc": Reference(
        lambda scores, targets: float(sklearn_metrics.roc_auc_score(targets, scores.ravel(), max_fpr=0.1)), draw_binary
    ),
    "rmse": Reference(compute_rmse, draw_regressions),
    "map_50": Reference(lambda rows, targets: compute_by_pycocotools(rows, targets, thresholds=1), draw_pictures),
    "map_50_95": Reference(lambda rows, targets: compute_by_pycocotools(rows, targets, thresholds=10), draw_pictures),
}


def test_every_metric_has_a_reference() -> None:
    assert set(REFERENCES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_has_the_contract(name: str) -> None:
    plugin = plugins.load("metrics", name)
    assert isinstance(plugin.METRIC, Metric)
    assert Metric.from_json(plugin.METRIC.to_json()) == plugin.METRIC
    outputs, targets = next(REFERENCES[name].draw(np.random.default_rng(0)))
    evidence = plugin.collect(outputs, targets)
    assert count_units(evidence) == len(targets)
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in evidence.values())
    if plugin.METRIC.is_proportion:
        assert evidence[CORRECT].dtype == bool


@pytest.mark.parametrize("name", NAMES)
def test_a_quality_equals_that_of_another_library(name: str) -> None:
    plugin, reference = plugins.load("metrics", name), REFERENCES[name]
    cases = [case for seed in range(3) for case in reference.draw(np.random.default_rng(seed))]
    for outputs, targets in cases:
        computed = plugin.compute(plugin.collect(outputs, targets))
        assert computed == pytest.approx(reference.compute(outputs[0], targets), abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_resampled_evidence_is_the_evidence_of_resampled_samples(name: str) -> None:
    plugin, reference = plugins.load("metrics", name), REFERENCES[name]
    rng = np.random.default_rng(1)
    for outputs, targets in reference.draw(rng):
        rows = rng.integers(0, len(targets), len(targets))
        evidence = select_units(plugin.collect(outputs, targets), rows)
        again = tuple(output[rows] for output in outputs)
        try:
            expected = plugin.compute(plugin.collect(again, targets[rows]))
        except DataError:  # the resample lacks a class that the metric needs
            with pytest.raises(DataError):
                plugin.compute(evidence)
        else:
            assert plugin.compute(evidence) == pytest.approx(expected, abs=1e-12)


# --- intervals -----------------------------------------------------------------------------------------------------

STUDIES = 800
RESAMPLES = 200
SAMPLES = 250


def draw_auc(rng: np.random.Generator) -> tuple[Case, float]:
    targets = (rng.random(SAMPLES) < 0.4).astype(np.int64)
    return ((rng.standard_normal(SAMPLES) + targets,), targets), float(stats.norm.cdf(1 / math.sqrt(2)))


def draw_macro_f1(rng: np.random.Generator) -> tuple[Case, float]:
    shares, right = np.array([0.5, 0.3, 0.2]), 0.7
    labels = rng.choice(3, SAMPLES, p=shares)
    others = (labels + rng.integers(1, 3, SAMPLES)) % 3
    predicted = np.where(rng.random(SAMPLES) < right, labels, others)
    assigned = right * shares + (1 - right) / 2 * (1 - shares)  # the share of predictions of each class
    return ((np.eye(3)[predicted],), labels), float((2 * right * shares / (shares + assigned)).mean())


def draw_rmse(rng: np.random.Generator) -> tuple[Case, float]:
    return ((rng.standard_normal(SAMPLES),), np.zeros(SAMPLES)), 1.0


@pytest.mark.parametrize(("name", "draw"), [("auc", draw_auc), ("macro_f1", draw_macro_f1), ("rmse", draw_rmse)])
def test_a_bootstrap_interval_covers_the_true_quality_in_95_percent_of_studies(
    name: str, draw: Callable[[np.random.Generator], tuple[Case, float]]
) -> None:
    plugin, rng = plugins.load("metrics", name), np.random.default_rng(20)
    covered = 0
    for _ in range(STUDIES):
        (outputs, targets), truth = draw(rng)
        estimate = bootstrap.estimate_quality(plugin.compute, plugin.collect(outputs, targets), resamples=RESAMPLES)
        covered += estimate.low <= truth <= estimate.high
    assert covered / STUDIES == pytest.approx(0.95, abs=0.015)
