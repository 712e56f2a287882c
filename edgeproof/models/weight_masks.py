"""Find the weights of a module and their zeros, and restore these zeros. It needs torch alone."""

from __future__ import annotations

import torch
from torch import nn

# Each weight tensor with a mask of its zeros.
ZeroMasks = list[tuple[nn.Parameter, torch.Tensor]]


def find_weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the weight tensors of a module: its parameters with more than one dimension.

    Biases, parameters of normalizations and positions have one dimension. Methods neither prune nor quantize them.
    """
    return [p for p in module.parameters() if p.dim() > 1]


def find_zeros(module: nn.Module) -> ZeroMasks:
    """Return each weight tensor of a module with a mask that is true where the weight is zero now."""
    return [(weight, weight.detach() == 0) for weight in find_weights(module)]


@torch.no_grad()
def restore_zeros(masks: ZeroMasks) -> None:
    """Set the masked weights to zero again."""
    for weight, zero in masks:
        weight.masked_fill_(zero, 0.0)
