"""Handwritten digits: 1,797 images of 8×8 from the UCI repository (Alpaydin, Kaynak, 1998), shipped by scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

INPUTS = (Port("image", (1, 8, 8)),)
OUTPUTS = (Port("logits", (10,)),)
METRICS = ("accuracy",)
VIEWS = 5
TEST_SAMPLES = 597

_SHIFTS = {1: (-1, -2), 2: (1, -2), 3: (-1, -1), 4: (1, -1)}  # view: (step, axis)


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the table, which has 64 pixels from 0 to 16 and a label in each row, and split it by `seed`.

    Returns uint8 images (N, 1, 8, 8) and labels (N,) of train, validation and test.
    """
    table = np.loadtxt(files["digits.csv"], delimiter=",").astype(np.uint8)
    images, labels = table[:, :-1].reshape(-1, *INPUTS[0].shape), table[:, -1]
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.split(order, [TEST_SAMPLES, TEST_SAMPLES + validation_samples])
    names = ("test", "validation", "train")
    return {name: (images[np.sort(part)], labels[np.sort(part)]) for name, part in zip(names, parts, strict=True)}


def preprocess(raw: Array) -> Array:
    """Scale pixels from 0..16 to float32 in -1..1."""
    return raw.astype(np.float32) / np.float32(8) - np.float32(1)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return view k of images (N, 1, 8, 8): 0 is the image itself, 1 to 4 are shifted by one pixel.

    The new border is background.
    """
    if k == 0:
        return x
    step, axis = _SHIFTS[k]
    shifted = x.roll(step, axis)
    shifted.select(axis, 0 if step > 0 else -1).fill_(-1)
    return shifted
