"""Prune channels by the L1 norm of their weights (structured pruning), so that the network gets smaller and faster.

Li et al., "Pruning Filters for Efficient ConvNets" (2017). Coupled layers are pruned together
(models/channel_pruning.py). Weights that were zero before stay zero.
"""

from __future__ import annotations

import torch_pruning
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.models.channel_pruning import remove_channels
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_channels.yaml."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels to remove")
    round_to: PositiveInt = Field(
        description="the channels that remain are rounded down to a multiple of this, as vector kernels prefer"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the channels with the smallest L1 norms from every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, keep_zeros=True)
