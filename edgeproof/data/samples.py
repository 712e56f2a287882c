"""Samples: the inputs of an artifact, and their labels if they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (N, *input_shape), float32, and labels (N,), or None if the labels are unknown."""

    inputs: Array
    labels: Array | None
