"""Prune channels by the L1 norm of their weights (structured pruning), so that the network gets smaller and faster.

Li et al., "Pruning Filters for Efficient ConvNets" (2017). Coupled layers are pruned together
(models/channel_pruning.py). Weights that were zero before stay zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch_pruning
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.models.channel_pruning import remove_channels
from edgeproof.models.distillation import TaughtRecipe, make_optional_loss
from edgeproof.models.training import fit
from edgeproof.models.training_task import TrainingTask


class Options(TaughtRecipe):
    """Options of the method, set in conf/methods/prune_channels.yaml."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels to remove")
    round_to: PositiveInt = Field(
        description="the channels that remain are rounded down to a multiple of this, as vector kernels prefer"
    )


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module] = (), **options: object) -> nn.Module:
    """Remove the channels with the smallest L1 norms from every layer but the last, then fine-tune.

    The loss of the fine-tuning is the task's own, or with teachers that of models/distillation.py.
    """
    chosen = Options.model_validate(options)
    loss = make_optional_loss(teachers, task, chosen, "prune_channels")
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, loss=loss, keep_zeros=True)
