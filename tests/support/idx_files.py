"""Files in the idx format of MNIST."""

from __future__ import annotations

import struct

import numpy as np


def encode(array: np.ndarray) -> bytes:
    """Return an array as an idx file: two zero bytes, the type (8: unsigned bytes), the rank, the sizes, the values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
