"""Samples: the inputs of an artifact, and their targets if they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """One array (N, *shape) for each input of an artifact, and targets (N, …), or None if they are unknown."""

    inputs: tuple[Array, ...]
    targets: Array | None

    def __len__(self) -> int:
        return len(self.inputs[0])
