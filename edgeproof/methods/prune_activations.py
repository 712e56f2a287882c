"""Prune channels by their activations: remove the channels that respond least to training samples.

    mean   Θ(channel) = mean over samples and positions of |a|
           Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference" (2017),
           section 2.2
    apoz   Θ(channel) = 1 − APoZ, the share of samples and positions with a ≠ 0
           APoZ is the average percentage of zeros: Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach"
           (2016), equation 1

with the values a of a channel as the next layers read them. Θ is summed over all layers that read the channel. Coupled
layers are pruned together (models/channel_pruning.py). Weights that were zero before stay zero.

APoZ needs zeros that the next layers still see. After average pooling, a value is zero only if its whole window is;
after an addition without ReLU, values are almost never zero. Hu et al. remove the channels whose APoZ is one standard
deviation above the mean of their layer; here the option `ratio` says how many to remove.
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
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Inputs, TrainingTask, compute_outputs

RESPONSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"mean": torch.abs, "apoz": lambda values: values != 0}


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_activations.yaml."""

    criterion: Literal["mean", "apoz"] = Field(description="the importance Θ of a channel")
    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels to remove")
    round_to: PositiveInt = Field(
        description="the channels that remain are rounded down to a multiple of this, as vector kernels prefer"
    )
    samples: PositiveInt = Field(description="number of training samples to measure, from the first")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the channels with the weakest responses from every layer but the last, then fine-tune.

    Raises ConfigError for the criterion apoz in a network without ReLU layers.
    """
    chosen = Options.model_validate(options)
    if chosen.criterion == "apoz" and not any(isinstance(layer, nn.ReLU | nn.ReLU6) for layer in model.modules()):
        raise ConfigError(
            "prune_activations: the criterion 'apoz' counts the zeros after ReLU layers, and this network has none. "
            "Use 'criterion: mean'."
        )
    responses = measure_responses(model, task.train.select(slice(chosen.samples)).inputs, RESPONSES[chosen.criterion])

    def importance(group: Any) -> torch.Tensor:
        return sum_coupled_values(group, lambda layer, reads: responses[layer] if reads else None)

    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, keep_zeros=True)


def measure_responses(
    model: nn.Module, inputs: Inputs, response: Callable[[torch.Tensor], torch.Tensor]
) -> dict[nn.Module, torch.Tensor]:
    """Return, for each convolution and linear layer, the mean response of its input channels to some samples."""
    sums: dict[nn.Module, torch.Tensor] = {}

    def record(layer: nn.Module, layer_inputs: tuple[torch.Tensor, ...]) -> None:
        channel_axis = -1 if isinstance(layer, nn.Linear) else 1
        by_channel = response(layer_inputs[0]).double().movedim(channel_axis, 0).flatten(1).mean(1)
        sums[layer] = sums.get(layer, 0) + by_channel * len(layer_inputs[0])

    handles = [layer.register_forward_pre_hook(record) for layer in find_weighted_layers(model).values()]
    compute_outputs(model, inputs)
    for handle in handles:
        handle.remove()
    return {layer: (total / len(inputs[0])).float() for layer, total in sums.items()}
