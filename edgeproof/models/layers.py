"""Find the layers that have weights, zero their smallest weights, and refuse a network with nothing left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.training_task import EVALUATION_BATCH, TrainingTask, compute_outputs


def find_weighted_layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the convolutions and linear layers by dotted name, in the order of the module."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


@torch.no_grad()
def zero_smallest(weights: Sequence[nn.Parameter], sparsity: float) -> None:
    """Zero the round(sparsity × count) weights with the smallest magnitudes, counted over all given tensors together.

    Of equal magnitudes, the first are zeroed. `sparsity` is a share from 0 to 1.
    """
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    zeros = torch.zeros(len(magnitudes), dtype=torch.bool)
    zeros[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = True
    for weight, zero in zip(weights, torch.split(zeros, [w.numel() for w in weights]), strict=True):
        weight.masked_fill_(zero.reshape(weight.shape), 0.0)  # a product with a mask would turn negatives into -0.0


def refuse_dead_network(module: nn.Module, task: TrainingTask) -> None:
    """Raise ConfigError if layers are empty and the outputs no longer depend on the input.

    An empty layer is not an error by itself, because a shortcut may bypass it.
    """
    empty = [name for name, layer in find_weighted_layers(module).items() if not layer.weight.any()]
    if not empty:
        return
    outputs = compute_outputs(module, task.train.select(slice(EVALUATION_BATCH)).inputs)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    if all(float((each - each[0]).abs().max()) <= 1e-6 * float(each.abs().max()) for each in tensors):
        raise ConfigError(
            f"the network's output no longer depends on its input: no weight is left in {', '.join(empty)}. Remove "
            "less: use a smaller sparsity or penalty, more bits, a wider clipping, or another scope if the method has "
            "one."
        )
