"""The outputs of a module for one sample: their shapes for engines that keep other ones, their values for a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]


def predict_first(model: nn.Module, samples: tuple[Array, ...]) -> list[Array]:
    """Return torch's outputs (1, …) for the first sample of each input (N, …)."""
    import torch

    with torch.no_grad():
        outputs = model(*(torch.from_numpy(array[:1]) for array in samples))
    return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple | list) else (outputs,))]
