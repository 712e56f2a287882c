"""Prune weights to N:M sparsity: of every M consecutive weights along the inputs of a layer, keep the N largest.

Mishra et al., "Accelerating Sparse Deep Neural Networks" (2021), whose GPUs compute 2:4 sparsity at twice the speed.
This is magnitude pruning with a fixed number of zeros in each group; the other weights are then fine-tuned with the
zeros held.

A group runs along the input channels, for one output channel and one kernel position. The last group may have fewer
than M weights and keeps at most N of them, so a layer with N inputs or fewer stays dense. Weights that were zero before
stay zero. Zeros are stored in dense tensors: the entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn
from torch.nn import functional

from edgeproof.models.layers import find_weighted_layers
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_n_m.yaml."""

    n: PositiveInt = Field(description="weights to keep in each group, at least 1")
    m: int = Field(ge=2, description="weights in each group, more than n")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.n >= self.m:
            raise ValueError("n must be below m")
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune every convolution and linear layer of `model` once, then fine-tune it with the zeros held."""
    chosen = Options.model_validate(options)
    with torch.no_grad():
        for layer in find_weighted_layers(model).values():
            layer.weight.masked_fill_(~build_n_m_mask(layer.weight, chosen.n, chosen.m), 0.0)
    return fit(model, task, chosen, keep_zeros=True)


def build_n_m_mask(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Return a mask that is true for the n largest |w| of every m along axis 1. Of equal ones, the first is kept."""
    magnitudes = weight.abs().movedim(1, -1)
    width = magnitudes.shape[-1]
    padded = functional.pad(magnitudes, (0, -width % m), value=-1.0)
    groups = padded.reshape(*padded.shape[:-1], -1, m)
    rank = groups.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    mask: torch.Tensor = (rank < n).flatten(-2)[..., :width].movedim(-1, 1)
    return mask
