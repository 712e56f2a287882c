"""Match detections with the boxes of their pictures, and compute the mean average precision from the matches.

pycocotools matches picture by picture. Its result is kept as rows of a fixed size, so that pictures can be resampled
without matching them again, and the precision is accumulated by the formula of COCOeval.accumulate().

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.evidence import get_array
from edgeproof.statistics.metric import Array, Evidence

# COCO's thresholds of the intersection over union, the recalls at which precision is read, and the most detections of
# one class in a picture.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
PADDING = -1
# The keys of the evidence, one row a picture: score (N, D) and class (N, D) of each detection, whether it matches a box
# at each threshold (N, D, T), and the number of boxes of each class (N, classes).
SCORES, CLASSES, MATCHED, BOXES = "scores", "classes", "matched", "boxes"

_Items = list[dict[str, Any]]


def match_detections(label: str, outputs: tuple[Array, ...], targets: Array, thresholds: Array) -> Evidence:
    """Return the evidence of detections (N, D, 6) and boxes (N, B, 5), which map_50.py describes. Raises DataError."""
    boxes = _check_boxes(label, np.asarray(targets))
    rows = _check_detections(label, outputs, len(boxes))
    classes = int(max(rows[..., 5].max(), boxes[..., 0].max(), 0)) + 1
    evidence = {
        SCORES: np.full(rows.shape[:2], PADDING, np.float32),
        CLASSES: np.full(rows.shape[:2], PADDING, np.int32),
        MATCHED: np.zeros((*rows.shape[:2], len(thresholds)), bool),
        BOXES: np.zeros((len(boxes), classes), np.int32),
    }
    for picture in range(len(boxes)):
        position = 0
        for number, own, detected in _split_by_class(rows[picture], boxes[picture]):
            evidence[BOXES][picture, number] = len(own)
            scores, matched = _match_class(own, detected, thresholds)
            place = slice(position, position + len(scores))
            evidence[SCORES][picture, place], evidence[CLASSES][picture, place] = scores, number
            evidence[MATCHED][picture, place] = matched
            position = place.stop
    return evidence


def compute_mean_average_precision(evidence: Evidence) -> float:
    """Return the mean of the interpolated precision over recalls, thresholds and the classes that have boxes.

    Raises DataError if no picture has a box.
    """
    scores, classes = get_array(evidence, SCORES, kinds="f", ndim=2), get_array(evidence, CLASSES, kinds="iu", ndim=2)
    matched, boxes = get_array(evidence, MATCHED, kinds="b", ndim=3), get_array(evidence, BOXES, kinds="iu", ndim=2)
    totals = boxes.sum(axis=0)
    if not totals.any():
        raise DataError(f"there is no average precision: none of {len(boxes)} picture(s) has a box.")
    real = classes != PADDING
    numbers, hits = classes[real], matched[real]
    order = np.lexsort((-scores[real], numbers))  # stable, so that equal scores stay in the order of the pictures
    numbers, hits = numbers[order], hits[order]
    present = np.flatnonzero(totals)
    starts, ends = np.searchsorted(numbers, present), np.searchsorted(numbers, present, side="right")
    precisions = [
        _compute_average_precision(hits[start:end], int(totals[number]))
        for number, start, end in zip(present, starts, ends, strict=True)
    ]
    return float(np.mean(precisions))


def _compute_average_precision(hits: Array, boxes: int) -> float:
    """Return the mean interpolated precision of one class, from the hits (M, T) of detections in order of scores."""
    if not len(hits):
        return 0.0
    true_positives: Array = np.cumsum(hits, axis=0)
    precision = true_positives / (np.arange(1, len(hits) + 1)[:, None] + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = true_positives / boxes
    total = 0.0
    for column in range(hits.shape[1]):
        places = np.searchsorted(recall[:, column], RECALLS, side="left")
        total += float(envelope[places[places < len(hits)], column].sum())
    return total / (len(RECALLS) * int(hits.shape[1]))


def _match_class(boxes: _Items, detected: _Items, thresholds: Array) -> tuple[Array, Array]:
    """Return the scores (M,) of the detections of one class in a picture, in order, and their matches (M, T)."""
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType="bbox")
    evaluation.params.iouThrs = thresholds
    evaluation._gts[0, 0], evaluation._dts[0, 0] = boxes, detected
    evaluation.ious = {(0, 0): evaluation.computeIoU(0, 0)}
    everywhere = evaluation.params.areaRng[0]
    match: Mapping[str, Any] = evaluation.evaluateImg(0, 0, everywhere, MAX_DETECTIONS)
    # A detection of negative size is ignored: it is neither right nor wrong.
    counted = ~match["dtIgnore"].all(axis=0)
    return np.array(match["dtScores"], np.float32)[counted], match["dtMatches"].T[counted] > 0


def _split_by_class(rows: Array, boxes: Array) -> list[tuple[int, _Items, _Items]]:
    """Return the boxes and the detections of each class in a picture, as pycocotools takes them."""
    own = [(int(row[0]), _describe_item(number, row[1:5])) for number, row in enumerate(boxes, 1) if row[0] != PADDING]
    detected = [
        (int(row[5]), {**_describe_item(number, row[:4]), "score": float(row[4])})
        for number, row in enumerate(rows, 1)
        if row[4] != PADDING
    ]
    classes = sorted({number for number, _ in (*own, *detected)})
    return [
        (number, [item for kind, item in own if kind == number], [item for kind, item in detected if kind == number])
        for number in classes
    ]


def _describe_item(number: int, corners: Array) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in corners)
    width, height = right - left, bottom - top
    return {"id": number, "bbox": [left, top, width, height], "area": width * height, "iscrowd": 0, "ignore": 0}


def _check_boxes(label: str, targets: Array) -> Array:
    if targets.ndim != 3 or targets.shape[2] != 5 or targets.dtype.kind not in "fiu" or not targets.size:
        raise DataError(
            f"{label} needs targets (N, B, 5) with the rows class, x1, y1, x2, y2, and they are {targets.dtype} of "
            f"shape {targets.shape}."
        )
    boxes = targets.astype(np.float64)
    real = boxes[..., 0] != PADDING
    _check_numbers(label, boxes[real], boxes[real][:, 0], "target")
    if (boxes[real][:, 3:] <= boxes[real][:, 1:3]).any():
        raise DataError(f"{label}: a box in the targets is empty or inverted. Its corners are x1 < x2 and y1 < y2.")
    if not real.any():
        raise DataError(f"{label} is undefined: none of {len(boxes)} picture(s) has a box.")
    return boxes


def _check_detections(label: str, outputs: tuple[Array, ...], count: int) -> Array:
    shape: tuple[int, ...] = outputs[0].shape if outputs else ()
    if len(outputs) != 1 or len(shape) != 3 or shape[2] != 6 or outputs[0].dtype.kind != "f" or not shape[1]:
        raise DataError(
            f"{label} needs one output (N, D, 6) of floats with the rows x1, y1, x2, y2, score, class, and the outputs "
            f"are {', '.join(f'{output.dtype} {output.shape}' for output in outputs) or 'missing'}. The task's "
            "postprocess() returns it."
        )
    if shape[0] != count:
        raise DataError(f"{label} needs the boxes of each picture, and there are {count} for {shape[0]} output(s).")
    rows = outputs[0].astype(np.float64)
    real = rows[..., 4] != PADDING
    _check_numbers(label, rows[real], rows[real][:, 5], "detection")
    if (rows[real][:, 4] < 0).any():
        raise DataError(f"{label}: a detection has a negative score. Only padding has one, and it is {PADDING}.")
    rows[~real] = PADDING
    return rows


def _check_numbers(label: str, rows: Array, classes: Array, kind: str) -> None:
    if not np.isfinite(rows).all():
        raise DataError(f"{label}: a {kind} holds NaN or infinity.")
    if (classes < 0).any() or (classes != np.rint(classes)).any() or (classes >= 2**15).any():
        raise DataError(f"{label}: a {kind} has the class {classes[(classes < 0) | (classes % 1 != 0)][:1]}.")
