"""Fashion-MNIST: 28×28 grey images of ten kinds of clothing, 60,000 to train and 10,000 to test.

Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms" (2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

INPUTS = (Port("image", (1, 28, 28)),)
OUTPUTS = (Port("logits", (10,)),)
METRICS = ("accuracy",)
VIEWS = 2
MEAN, STANDARD_DEVIATION = 0.2860, 0.3530  # of the training images scaled to 0..1

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the original idx files and split validation samples off the training samples by `seed`.

    Returns uint8 images (N, 1, 28, 28) and labels (N,) of train, validation and test. Raises DataError for a file that
    is not an idx file.
    """
    images = read_idx(files["train-images-idx3-ubyte"], IMAGES_MAGIC)
    labels = read_idx(files["train-labels-idx1-ubyte"], LABELS_MAGIC)
    order = np.random.default_rng(seed).permutation(len(images))
    validation, train = np.sort(order[:validation_samples]), np.sort(order[validation_samples:])
    return {
        "train": (images[train, None], labels[train]),
        "validation": (images[validation, None], labels[validation]),
        "test": (
            read_idx(files["t10k-images-idx3-ubyte"], IMAGES_MAGIC)[:, None],
            read_idx(files["t10k-labels-idx1-ubyte"], LABELS_MAGIC),
        ),
    }


def preprocess(raw: Array) -> Array:
    """Standardize uint8 images to float32 with the mean and standard deviation of the training images."""
    return ((raw.astype(np.float32) / np.float32(255)) - np.float32(MEAN)) / np.float32(STANDARD_DEVIATION)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return view k of images (N, 1, 28, 28): 0 is the image itself, 1 its mirror image."""
    return x.flip(-1) if k == 1 else x


def read_idx(path: Path, magic: int) -> Array:
    """Read an idx file of unsigned bytes, checking its header against its length. Raises DataError."""
    content = path.read_bytes()
    dimensions = magic & 0xFF
    size = 4 * (dimensions + 1)
    if len(content) < size or int.from_bytes(content[:4], "big") != magic:
        raise DataError(f"{path} is not an idx file of kind {magic}")
    header = np.frombuffer(content[:size], ">u4")
    shape = tuple(int(n) for n in header[1:])
    body = np.frombuffer(content, np.uint8, offset=size)
    if body.size != np.prod(shape):
        raise DataError(f"{path} holds {body.size} values, its header says {shape}")
    return body.reshape(shape)
