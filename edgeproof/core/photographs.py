"""Photographs as the inputs of a detector: decode a JPEG file and fit it to the network. Needs Pillow, imported here.

A bundle and the runner use the same functions, so that what is timed is what a camera's program does.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.raw_inputs import RawInputs

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

LETTERBOX, STRETCH = "letterbox", "stretch"
# Larger photographs need more memory than a small board has: three bytes for each pixel, twice.
MAX_PIXELS = 50_000_000
# The pixels beside a letterboxed photograph: the middle of their range.
GRAY = 128

# The synthetic photographs: bright discs on a gradient, with the noise of a sensor.
EXAMPLES = 4
EXAMPLE_WIDTH, EXAMPLE_HEIGHT = 640, 480
EXAMPLE_DISCS = 20
EXAMPLE_NOISE = 3.0
EXAMPLE_QUALITY = 90


@dataclass(frozen=True)
class Placement:
    """The place of a photograph in the input of a network: a pixel p of the photograph is at scale · p + offset.

    Attributes:
        scale, offset: for x and y.
        size: width and height of the photograph.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]
    size: tuple[int, int]

    def restore(self, boxes: Array) -> Array:
        """Return boxes (M, 4) of the input in pixels of the photograph, cut at its border."""
        corners = (boxes.astype(np.float64) - np.array(self.offset * 2)) / np.array(self.scale * 2)
        restored: Array = np.clip(corners, 0, np.array(self.size * 2))
        return restored


def read_picture(content: bytes) -> Image:
    """Decode a JPEG file to RGB. Raises DataError if it is damaged, incomplete or too large, or without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError("a picture needs Pillow: python3 -m pip install -r requirements.txt") from None
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"the picture has {picture.width}×{picture.height} pixels, at most {MAX_PIXELS:,}")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the picture is not a whole JPEG file: {error}") from None


def fit_picture(picture: Image, width: int, height: int, how: str) -> tuple[Array, Placement]:
    """Resize a photograph to uint8 (3, height, width), as the task of the network says.

    "letterbox" keeps its shape, puts it into the middle and fills the rest with gray. "stretch" changes its shape.
    Raises DataError for another word.
    """
    from PIL import Image

    if how not in (LETTERBOX, STRETCH):
        raise DataError(f"the task fits pictures by '{how}', which this program does not know")
    inner = (width, height)
    if how == LETTERBOX:
        scale = min(width / picture.width, height / picture.height)
        inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    resized = np.asarray(picture.resize(inner, Image.Resampling.BILINEAR))
    canvas = np.full((height, width, 3), GRAY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = resized
    scale_xy = (inner[0] / picture.width, inner[1] / picture.height)
    return canvas.transpose(2, 0, 1), Placement(scale_xy, (left, top), picture.size)


def make_raw_inputs(width: int, height: int, how: str, preprocess: Callable[[Array], Array]) -> RawInputs:
    """Return the raw inputs of a detector: JPEG files that are decoded, fitted and preprocessed one by one."""

    def preprocess_file(content: bytes) -> Array:
        fitted, _ = fit_picture(read_picture(content), width, height, how)
        return preprocess(fitted[None])

    examples = f"{EXAMPLES} synthetic JPEG photographs of {EXAMPLE_WIDTH}×{EXAMPLE_HEIGHT} pixels"
    return RawInputs(preprocess_file, make_examples, f"{examples}, decoded and resized by Pillow", packages=("pillow",))


def make_examples() -> Sequence[bytes]:
    """Return synthetic photographs as JPEG files. Needs Pillow, and raises ImportError without it."""
    from PIL import Image

    random = np.random.default_rng(0)
    y, x = np.mgrid[:EXAMPLE_HEIGHT, :EXAMPLE_WIDTH]
    files = []
    for _ in range(EXAMPLES):
        scene = np.stack([x / EXAMPLE_WIDTH, y / EXAMPLE_HEIGHT, 1 - x / EXAMPLE_WIDTH], 2) * 128 + 64
        for _ in range(EXAMPLE_DISCS):
            centre = random.random(2) * (EXAMPLE_WIDTH, EXAMPLE_HEIGHT)
            inside = np.hypot(x - centre[0], y - centre[1]) < random.uniform(10, 60)
            scene[inside] = random.uniform(0, 255, 3)
        scene += random.normal(0, EXAMPLE_NOISE, scene.shape)
        stream = io.BytesIO()
        Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=EXAMPLE_QUALITY)
        files.append(stream.getvalue())
    return files
