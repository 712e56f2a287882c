"""How a sample lies in memory: tasks give (C, H, W), and TensorFlow's networks take (H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

LAYOUT = "input_layout"
CHANNELS_LAST = "channels_last"

Array = np.ndarray[Any, Any]


def channels_last(samples: Array) -> Array:
    """Samples (N, C, H, W) as (N, H, W, C); what has one axis a sample stays as it is."""
    return np.ascontiguousarray(np.moveaxis(samples, 1, -1))
