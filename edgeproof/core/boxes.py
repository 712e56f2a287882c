"""Boxes of detectors in numpy: decode them from a grid, compute their overlaps, and suppress repeated ones.

A box is x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def decode_distances(distances: Array, positions: Array, width: int, stride: int) -> Array:
    """Return the boxes (M, 4) of positions of a grid, from the distances (4, M) of their centres to the four sides.

    The distances left, top, right and bottom are in strides and pass through softplus, log(1 + eˣ), which keeps them
    positive. A position counts row by row in a grid of `width` columns.
    """
    sides = np.logaddexp(0.0, distances.astype(np.float32)) * stride
    x, y = (positions % width + 0.5) * stride, (positions // width + 0.5) * stride
    return np.stack([x - sides[0], y - sides[1], x + sides[2], y + sides[3]], axis=1).astype(np.float32)


def compute_overlaps(one: Array, others: Array) -> Array:
    """Return the intersection over union (M,) of one box (4,) with others (M, 4)."""
    width = np.minimum(one[2], others[:, 2]) - np.maximum(one[0], others[:, 0])
    height = np.minimum(one[3], others[:, 3]) - np.maximum(one[1], others[:, 1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (one[2] - one[0]) * (one[3] - one[1]) + areas - common
    overlaps: Array = common / np.maximum(union, np.finfo(np.float32).tiny)  # empty boxes overlap with none
    return overlaps


def suppress(boxes: Array, classes: Array, max_overlap: float, limit: int) -> Array:
    """Return the indices of the boxes (M, 4) to keep, at most `limit`: non-maximum suppression in each class.

    The boxes are in order of falling scores. A box is dropped if it overlaps a kept one of its class by more than
    `max_overlap`.
    """
    kept: list[int] = []
    remaining = np.arange(len(boxes))
    while len(remaining) and len(kept) < limit:
        first, rest = remaining[0], remaining[1:]
        kept.append(int(first))
        repeated = (classes[rest] == classes[first]) & (compute_overlaps(boxes[first], boxes[rest]) > max_overlap)
        remaining = rest[~repeated]
    return np.array(kept, np.int64)
