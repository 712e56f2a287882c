"""Check an output of a session before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def check_output(output: Array, shape: list[int] | None) -> None:
    """Raise TypeError or ValueError if an output (1, ...) is not finite float32 of the shape, if one is given."""
    if output.dtype != np.float32:
        raise TypeError(f"the session returned {output.dtype}, expected float32")
    if shape is not None and list(output.shape) != shape:
        raise ValueError(f"the model's output has shape {list(output.shape)}, expected {shape}")
    if not np.isfinite(output).all():
        raise ValueError("the model's first output holds NaN or infinity")
