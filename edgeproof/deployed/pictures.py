"""Read a photograph for a detector, and draw its boxes into a copy. Needs Pillow, which is imported only here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.deployed.inference import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

LETTERBOX, STRETCH = "letterbox", "stretch"
# Larger photographs need more memory than a small board has: three bytes for each pixel, twice.
MAX_PIXELS = 50_000_000
# The pixels beside a letterboxed photograph: the middle of their range.
GRAY = 128
JPEG_QUALITY = 95
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
# Distinct for the common forms of color blindness: Okabe and Ito, "Color Universal Design" (2008).
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# A line is one pixel wide for each of these pixels of the shorter side.
SHORT_SIDE_PER_LINE = 200


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
    """Decode a JPEG file to RGB. Raises InputError if it is damaged, incomplete or too large, or without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError("a picture needs Pillow: python3 -m pip install -r requirements.txt") from None
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"the picture has {picture.width}×{picture.height} pixels, at most {MAX_PIXELS:,}")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the picture is not a whole JPEG file: {error}") from None


def fit_picture(picture: Image, width: int, height: int, how: str) -> tuple[Array, Placement]:
    """Resize a photograph to uint8 (3, height, width), as the task of the network says.

    "letterbox" keeps its shape, puts it into the middle and fills the rest with gray. "stretch" changes its shape.
    """
    from PIL import Image

    if how not in (LETTERBOX, STRETCH):
        raise InputError(f"the task fits pictures by '{how}', which this program does not know")
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


def draw_boxes(picture: Image, boxes: Array, classes: Sequence[int], labels: Sequence[str]) -> Image:
    """Return a copy of a photograph with boxes (M, 4), each in the color of its class and with its label."""
    from PIL import ImageDraw

    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    line = max(1, min(picture.size) // SHORT_SIDE_PER_LINE)
    for (x1, y1, x2, y2), number, label in zip(boxes.tolist(), classes, labels, strict=True):
        color = COLORS[number % len(COLORS)]
        draw.rectangle((x1, y1, x2, y2), outline=color, width=line)
        left, top, right, bottom = draw.textbbox((x1, y1), label)
        draw.rectangle((left, top, right, bottom), fill=color)
        draw.text((x1, y1), label, fill="white")
    return copy


def encode_picture(picture: Image, suffix: str) -> bytes:
    """Return the bytes of a picture in the format of a file's suffix. Raises InputError for an unknown one."""
    if suffix.lower() not in FORMATS:
        raise InputError(f"a picture is written to a file ending in {', '.join(FORMATS)}, not '{suffix}'")
    stream = io.BytesIO()
    picture.save(stream, FORMATS[suffix.lower()], quality=JPEG_QUALITY)
    return stream.getvalue()
