"""Structured pruning: remove whole channels by their L1 norm, so that the network really becomes smaller.

Li et al., "Pruning Filters for Efficient ConvNets" (2017), with the coupled layers found by Torch-Pruning's dependency
graph (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023). Weights that were zero before stay zero.
"""

from __future__ import annotations

import torch_pruning
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.models.channel_pruning import remove_channels
from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/prune_channels.yaml may set."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels that is removed")
    round_to: PositiveInt = Field(
        description="what is left is rounded down to a multiple of this, as vector kernels prefer"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the weakest channels of every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, keep_zeros=True)
