"""Prune channels by the Taylor criterion: remove the channels whose removal changes the loss least, to first order.

Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), the sum of the first-order importances of a
structure's parameters:

    I(channel) = mean over batches of Σ_m (g_m w_m)²

with the gradient g_m of a batch's loss, over all parameters w_m that belong to the channel: those that output it, those
of its normalization, and those of all layers that read it. Gradients are computed in evaluation mode, without changing
the statistics of normalizations.

GroupTaylorImportance of Torch-Pruning sums |g_m w_m| of one gradient and leaves normalizations out. Therefore only the
dependency graph of that library is used. Weights that were zero before stay zero.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import nn

from edgeproof.models.channel_pruning import remove_channels, sum_coupled_values
from edgeproof.models.strided_convolutions import replace_strided_convolutions
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_channels_taylor.yaml."""

    ratio: float = Field(gt=0, lt=1, description="least share of each layer's channels to remove")
    round_to: PositiveInt = Field(
        description="the channels that remain are rounded down to a multiple of this, as vector kernels prefer"
    )
    samples: PositiveInt = Field(description="number of training samples for the gradients, from the first")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Remove the channels with the smallest importance from every layer but the last, then fine-tune."""
    chosen = Options.model_validate(options)
    scores = compute_taylor_scores(model, task, chosen.samples, chosen.batch_size)

    def importance(group: Any) -> torch.Tensor:
        return sum_coupled_values(group, lambda layer, reads: _sum_by_channel(layer, scores, reads=reads))

    remove_channels(model, task, importance, ratio=chosen.ratio, round_to=chosen.round_to)
    return fit(model, task, chosen, keep_zeros=True)


def compute_taylor_scores(
    model: nn.Module, task: TrainingTask, samples: int, batch_size: int
) -> dict[nn.Parameter, torch.Tensor]:
    """Return (g w)² of each parameter, averaged over batches of the first training samples."""
    model.eval()
    parameters = list(model.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    rows = torch.arange(min(samples, len(task.train)))
    batches = [_build_plain_batch(task, part) for part in torch.split(rows, batch_size)]
    for batch in batches:
        with replace_strided_convolutions(model):
            gradients = torch.autograd.grad(task.loss(model(*batch.inputs), batch), parameters)
        for total, p, gradient in zip(sums, parameters, gradients, strict=True):
            total += (gradient * p.detach()).square()
    return {p: total / len(batches) for p, total in zip(parameters, sums, strict=True)}


def _build_plain_batch(task: TrainingTask, rows: torch.Tensor) -> Batch:
    split = task.train.select(rows)
    return Batch(split.inputs, split.targets, rows, torch.zeros_like(rows))


def _sum_by_channel(layer: nn.Module, scores: dict[nn.Parameter, torch.Tensor], *, reads: bool) -> torch.Tensor | None:
    """Return the scores of a layer's parameters, summed for each channel that it reads or outputs."""
    own = [scores[p] for p in layer.parameters(recurse=False)] if isinstance(layer, nn.Module) else []
    if not own:
        return None
    if reads:  # the weight is (outputs, inputs in a group, …); a bias reads no channel
        groups = getattr(layer, "groups", 1)
        return own[0].reshape(groups, len(own[0]) // groups, own[0].shape[1], -1).sum((1, 3)).flatten()
    return torch.stack([score.flatten(1).sum(1) if score.dim() > 1 else score for score in own]).sum(0)
