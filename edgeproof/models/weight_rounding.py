"""Train a network through a rounding of its weights, with the straight-through estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.models.layers import find_weighted_layers, refuse_dead_network
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Loss, TrainingTask

Rounding = Callable[[torch.Tensor], torch.Tensor]


def round_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Round a weight tensor (output channels first) to 2^bits − 1 evenly spaced levels around zero in each channel.

        Q(w) = s · clip(round(w / s), −(2^(b−1) − 1), 2^(b−1) − 1),   s = max|w| / (2^(b−1) − 1)

    Symmetric per-channel quantization of Krishnamoorthi, "Quantizing deep convolutional networks" (2018), section 3.
    """
    levels = 2 ** (bits - 1) - 1
    peak = weight.abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
    scale = (peak / levels).reshape(-1, *[1] * (weight.dim() - 1))
    rounded: torch.Tensor = (weight / scale).round().clamp(-levels, levels) * scale
    return rounded


def fit_with_rounding(
    module: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    rounding: Rounding | Mapping[str, Rounding],
    *,
    loss: Loss | None = None,
) -> nn.Module:
    """Fine-tune `module` with the weights of all convolutions and linear layers rounded, and store them rounded.

    `rounding` is one function, or one for each layer's dotted name. Its gradient is taken as 1: the straight-through
    estimator of Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons" (2013). Weights that
    are zero at the start stay zero. Without a `loss`, the task's own is minimized. Raises ConfigError when training
    diverges or the rounded network is dead.
    """
    layers = find_weighted_layers(module)
    for name, layer in layers.items():
        layer_rounding = rounding[name] if isinstance(rounding, Mapping) else rounding
        estimator = _StraightThrough(layer_rounding, layer.weight.detach() != 0)
        parametrize.register_parametrization(layer, "weight", estimator)
    fit(module, task, recipe, loss=loss)
    refuse_dead_network(module, task)
    for layer in layers.values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


class _StraightThrough(nn.Module):
    """Parametrization of a weight tensor: rounded in the forward pass, with the gradient of the identity."""

    def __init__(self, rounding: Rounding, mask: torch.Tensor) -> None:
        super().__init__()
        self.rounding, self.mask = rounding, mask

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        rounded = self.rounding(weight.detach() * self.mask)
        # Adding zero keeps the rounded values exactly. The usual weight + (rounded − weight) would not.
        return torch.where(self.mask, rounded + (weight - weight.detach()), 0.0)
