"""Unstructured magnitude pruning: zero the smallest weights of the whole network, then fine-tune what is left.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015), with one global threshold.
The zeros stay in dense tensors: the entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from edgeproof.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/prune_weights.yaml may set."""

    sparsity: float = Field(gt=0, lt=1, description="share of all weights set to zero")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune `model` once to the sparsity and fine-tune it with the zeros held."""
    chosen = Options.model_validate(options)
    masks = global_masks(model, chosen.sparsity)

    @torch.no_grad()
    def hold_zeros() -> None:
        for weight, mask in masks:
            weight.masked_fill_(mask == 0, 0.0)  # multiplied by the mask, a negative weight would become -0.0

    hold_zeros()
    return fit(model, task, chosen, after_step=hold_zeros)


def global_masks(model: nn.Module, sparsity: float) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """A 0/1 mask for each weight tensor: exactly round(sparsity × weights) of the smallest |w| are zero."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    magnitudes = torch.cat([w.detach().abs().flatten() for w in weights])
    keep = torch.ones_like(magnitudes)
    keep[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = 0
    pieces = torch.split(keep, [w.numel() for w in weights])
    return [(w, piece.reshape(w.shape)) for w, piece in zip(weights, pieces, strict=True)]
