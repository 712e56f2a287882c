"""Facts of a trained model for its meta.json, the same for torch and Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ModelFacts:
    """Facts that depend only on the model.

    `macs` counts the multiply-accumulates of one inference in convolutions and matrix products. `weight_sparsity` is
    the share (0 to 1) of exact zeros in all weight tensors. `entropy_coded_bytes` covers all floating-point tensors,
    including the statistics of normalizations.
    """

    parameters: int
    macs: int
    weight_sparsity: float
    entropy_coded_bytes: int

    def to_meta(self) -> dict[str, Any]:
        """Return the entries of meta.json."""
        return asdict(self)


def compute_sparsity(weights: Sequence[Array]) -> float:
    """Return the share (0 to 1) of exact zeros in weight tensors, rounded to six digits; 0 if there are no weights."""
    count = sum(weight.size for weight in weights)
    return round(sum(int((weight == 0).sum()) for weight in weights) / count, 6) if count else 0.0
