"""Prune channels by network slimming: train with an L1 penalty on the scales of batch normalizations.

Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (2017):

    minimize L(w) + λ · Σ |γ|

with the scales γ of all batch normalizations, by subgradients as in the paper. Then the channels with the smallest |γ|
are removed and the rest is fine-tuned. With scope "global", the paper's global threshold, the share is counted over all
layers together and finds the width of each layer; with scope "layer" it is counted in each layer.

For coupled layers, as beside a shortcut, |γ| is averaged over them (BNScaleImportance of Torch-Pruning). Channels
without a batch normalization stay. Weights that were zero before stay zero.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch_pruning
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.channel_pruning import remove_channels
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_channels_slimming.yaml."""

    ratio: float = Field(gt=0, lt=1, description="least share of channels to remove")
    scope: Literal["global", "layer"] = Field(description="count the share over all channels together or in each layer")
    round_to: PositiveInt = Field(
        description="the channels that remain are rounded down to a multiple of this, as vector kernels prefer"
    )
    penalty: NonNegativeFloat = Field(description="λ")
    penalty_epochs: NonNegativeInt = Field(
        description="epochs with the penalty; then come the removal and 'epochs' of fine-tuning"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train with the penalty, remove the channels with the smallest scales, then fine-tune.

    Raises ConfigError for a network without batch normalizations.
    """
    chosen = Options.model_validate(options)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine]
    if not norms:
        raise ConfigError(
            "prune_channels_slimming ranks channels by the scales of batch normalizations, and this network has none. "
            "Use prune_channels, prune_channels_taylor or prune_activations."
        )

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return task.loss(logits, batch) + chosen.penalty * torch.stack([n.weight.abs().sum() for n in norms]).sum()

    penalized = chosen.model_copy(update={"epochs": chosen.penalty_epochs})
    fit(model, task, penalized, loss=loss, keep_zeros=True)
    # The default divides scales by the mean of their layer; then they could not be compared between layers.
    importance = torch_pruning.importance.BNScaleImportance(normalizer=None)
    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to, scope=chosen.scope)
    return fit(model, task, chosen, keep_zeros=True)
