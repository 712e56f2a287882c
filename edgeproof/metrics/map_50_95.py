"""mAP at 0.5 to 0.95: the mean average precision of detections over ten thresholds of overlap, as COCO ranks by.

The overlap is the intersection over union. pycocotools matches detections with boxes.
"""

from __future__ import annotations

from edgeproof.statistics import detections
from edgeproof.statistics.metric import Array, Evidence, Metric

METRIC = Metric(label="mAP@0.5:0.95", digits=3)


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return the detections of each picture and whether they match a box.

    The first output has the rows x1, y1, x2, y2, score, class of each picture (N, D, 6), padded with the score -1. The
    targets have the rows class, x1, y1, x2, y2 (N, B, 5), padded with the class -1. Raises DataError for anything else.
    """
    return detections.match_detections(METRIC.label, outputs, targets, detections.THRESHOLDS)


def compute(evidence: Evidence) -> float:
    """Return the mean average precision. Raises DataError if no picture has a box."""
    return detections.compute_mean_average_precision(evidence)
