"""Structured pruning by data: remove the channels that respond least to training samples.

Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference" (2017), section 2.2, mean
activation:

    Θ(channel) = mean over samples and positions of |a|,   a as the next layers read it

summed over all layers that read the channel. It asks what Hu et al., "Network Trimming" (2016), ask by counting zeros
(APoZ), but still tells channels apart after average pooling, where hardly any value is zero. The coupled layers are
found by Torch-Pruning's dependency graph (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023).
"""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.layers import remove_channels
from edgeproof.training import Recipe, TrainingTask, fit, logits_of

READERS = (torch_pruning.function.prune_conv_in_channels, torch_pruning.function.prune_linear_in_channels)


class Options(Recipe):
    """What conf/methods/prune_activations.yaml may set."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels that is removed")
    round_to: PositiveInt = Field(
        description="what is left is rounded down to a multiple of this, as vector kernels prefer"
    )
    samples: PositiveInt = Field(description="how many training samples, from the first, are looked at")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the quietest channels of every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    activity = mean_inputs(model, task.train_x[: chosen.samples])

    def importance(group: Any) -> torch.Tensor:
        total = torch.zeros(len(group[0].idxs))
        for dependency, channels, roots in ((item.dep, item.idxs, item.root_idxs) for item in group):
            if dependency.pruning_fn in READERS and None not in roots:
                total.index_add_(0, torch.tensor(roots), activity[dependency.layer][channels])
        return total

    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen)


def mean_inputs(model: nn.Module, x: torch.Tensor) -> dict[nn.Module, torch.Tensor]:
    """The mean magnitude of each channel that each convolution and linear layer reads, over samples `x`."""
    sums: dict[nn.Module, torch.Tensor] = {}

    def listen(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].double().abs().flatten(2).mean(2) if inputs[0].dim() > 2 else inputs[0].double().abs()
        sums[layer] = sums.get(layer, 0) + values.sum(0)

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_pre_hook(listen) for layer in layers]
    logits_of(model, x)
    for handle in handles:
        handle.remove()
    return {layer: (total / len(x)).float() for layer, total in sums.items()}
