"""Structured pruning: remove whole channels by their L1 norm, so that the network really becomes smaller.

Li et al., "Pruning Filters for Efficient ConvNets" (2017), with the coupled layers found by Torch-Pruning's dependency
graph (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023).
"""

from __future__ import annotations

import torch
import torch_pruning
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/prune_channels.yaml may set."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels that is removed")
    round_to: PositiveInt = Field(
        description="what is left is rounded down to a multiple of this, as vector kernels prefer"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the weakest channels of every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    before = sum(p.numel() for p in model.parameters())
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        torch.zeros(1, *task.input_shape),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=chosen.ratio,
        round_to=chosen.round_to,
        ignored_layers=last,
    )
    pruner.step()
    if sum(p.numel() for p in model.parameters()) == before:
        raise ConfigError(
            f"prune_channels removed nothing: ratio {chosen.ratio} rounded to multiples of {chosen.round_to} leaves "
            "every layer as it is. Use a larger ratio or a smaller round_to."
        )
    return fit(model, task, chosen)
