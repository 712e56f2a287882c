"""Draw the boxes of a detector into a copy of a photograph. Needs Pillow, which is imported only here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.deployed.inference import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

JPEG_QUALITY = 95
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
# Distinct for the common forms of color blindness: Okabe and Ito, "Color Universal Design" (2008).
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# A line is one pixel wide for each of these pixels of the shorter side.
SHORT_SIDE_PER_LINE = 200


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
