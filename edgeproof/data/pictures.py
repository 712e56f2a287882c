"""Decode a picture of any common kind into pixels of 8 bits, the same way on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
# A 16-bit value is this times the 8-bit value of the same brightness.
_STEP = 257
_MAX_16_BIT = 65535

Array = np.ndarray[Any, Any]


def decode_picture(path: Path, size: Sequence[int], channels: int) -> Array:
    """Return a picture as uint8 (channels, height, width).

    It is turned as its EXIF orientation says, and resized without regard to its proportions. Transparent pixels are
    shown on white. Of an animation, the first frame is taken. Raises DataError for a file that is no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as opened:
            picture = _flatten(ImageOps.exif_transpose(opened)).convert("RGB" if channels == 3 else "L")
            resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise DataError(f"{path} can't be read as a picture ({error}). Repair or remove it.") from error
    pixels = np.asarray(resized)
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


def _flatten(picture: Any) -> Any:
    """Return a picture with 8 bits for each value and without transparency. Raises ValueError for other values."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if picture.mode == "I" or picture.mode.startswith("I;"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > _MAX_16_BIT:
            raise ValueError("its pixels have more than 16 bits")
        return Image.fromarray(((values + _STEP // 2) // _STEP).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return picture
