"""Memory layouts of samples: tasks give (C, H, W), TensorFlow's networks take (H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

LAYOUT = "input_layout"
CHANNELS_LAST = "channels_last"

Array = np.ndarray[Any, Any]


def move_channels_last(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return inputs (N, C, H, W) as (N, H, W, C), contiguous. Inputs with a single axis (N, C) are unchanged."""
    return tuple(np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim > 2 else array for array in inputs)
