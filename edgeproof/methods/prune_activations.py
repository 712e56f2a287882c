"""Structured pruning by data: remove the channels that respond least to training samples.

    mean   Θ(channel) = mean over samples and positions of |a|          Molchanov et al., "Pruning Convolutional Neural
           Networks for Resource Efficient Inference" (2017), section 2.2
    apoz   Θ(channel) = 1 − APoZ, the share of samples and positions with a ≠ 0          Hu et al., "Network Trimming:
           A Data-Driven Neuron Pruning Approach" (2016), equation 1

with a channel's values a as the next layers read them, and Θ summed over all layers that read the channel. The coupled
layers are found by Torch-Pruning's dependency graph (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023).
Weights that were zero before stay zero.

APoZ tells channels apart only where a ReLU makes zeros that the next layers still see: after average pooling a value is
zero when the whole window was, after an addition without a ReLU hardly ever. Where Hu et al. remove the channels whose
APoZ is a standard deviation above their layer's mean, here the ratio says how many go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.channel_pruning import remove_channels, sum_coupled_values
from edgeproof.models.layers import find_weighted_layers
from edgeproof.models.training import Recipe, TrainingTask, compute_logits, fit

RESPONSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"mean": torch.abs, "apoz": lambda values: values != 0}


class Options(Recipe):
    """What conf/methods/prune_activations.yaml may set."""

    criterion: Literal["mean", "apoz"]
    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels that is removed")
    round_to: PositiveInt = Field(
        description="what is left is rounded down to a multiple of this, as vector kernels prefer"
    )
    samples: PositiveInt = Field(description="how many training samples, from the first, are looked at")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the quietest channels of every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    if chosen.criterion == "apoz" and not any(isinstance(layer, nn.ReLU | nn.ReLU6) for layer in model.modules()):
        raise ConfigError(
            "prune_activations: the criterion apoz counts the zeros after ReLU layers, and this network has none. "
            "Use 'criterion: mean'."
        )
    heard = measure_responses(model, task.train_x[: chosen.samples], RESPONSES[chosen.criterion])

    def importance(group: Any) -> torch.Tensor:
        return sum_coupled_values(group, lambda layer, reads: heard[layer] if reads else None)

    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, keep_zeros=True)


def measure_responses(
    model: nn.Module, x: torch.Tensor, response: Callable[[torch.Tensor], torch.Tensor]
) -> dict[nn.Module, torch.Tensor]:
    """The mean response of each channel that each convolution and linear layer reads, over samples `x`."""
    sums: dict[nn.Module, torch.Tensor] = {}

    def listen(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        channels = -1 if isinstance(layer, nn.Linear) else 1
        by_channel = response(inputs[0]).double().movedim(channels, 0).flatten(1).mean(1)
        sums[layer] = sums.get(layer, 0) + by_channel * len(inputs[0])

    handles = [layer.register_forward_pre_hook(listen) for layer in find_weighted_layers(model).values()]
    compute_logits(model, x)
    for handle in handles:
        handle.remove()
    return {layer: (total / len(x)).float() for layer, total in sums.items()}
