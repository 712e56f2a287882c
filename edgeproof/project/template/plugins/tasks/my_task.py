"""Handwritten digits: 1,797 pictures of 8×8 pixels, which scikit-learn contains (Alpaydin, Kaynak, 1998)."""

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
VIEWS = 1
TEST_SAMPLES = 597


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Return raw pictures (N, 1, 8, 8) and labels (N,) of the splits train, validation and test."""
    table = np.loadtxt(files["digits.csv"], delimiter=",").astype(np.uint8)
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1]
    order = np.random.default_rng(seed).permutation(len(images))
    test, validation, train = np.split(order, [TEST_SAMPLES, TEST_SAMPLES + validation_samples])
    return {
        name: (images[rows], labels[rows])
        for name, rows in (("train", train), ("validation", validation), ("test", test))
    }


def preprocess(raw: Array) -> Array:
    """Turn raw pictures into the inputs of the network: pixels from 0..16 become float32 in -1..1."""
    return raw.astype(np.float32) / np.float32(8) - np.float32(1)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the pictures themselves. A task with several VIEWS returns a changed copy for k > 0."""
    return x
