"""Gradual magnitude pruning: zero more and more of the smallest weights while the network is trained.

Zhu, Gupta: "To prune, or not to prune: exploring the efficacy of pruning for model compression" (2017), equation 1:

    s_t = s_f + (s_i − s_f) · (1 − t / t_end)³      until step t_end, then s_f

with the initial and final sparsity s_i and s_f: much is removed while much is redundant, little towards the end. Pruned
weights stay zero, and so do weights that were zero before.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from edgeproof.models.layers import refuse_dead_network, zero_smallest
from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/prune_gradual.yaml may set."""

    initial_sparsity: float = Field(ge=0, lt=1)
    sparsity: float = Field(gt=0, lt=1, description="final share of weights set to zero")
    scope: Literal["global", "layer"] = Field(description="the share of all weights together, or of each layer's")
    every: PositiveInt = Field(description="steps from one pruning to the next")
    pruning_share: float = Field(gt=0, le=1, description="of all steps, after which only fine-tuning is left")

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if self.initial_sparsity > self.sparsity:
            raise ValueError("initial_sparsity must not be above sparsity")
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune `model` step by step to the sparsity while fine-tuning it; without epochs, at once."""
    chosen = Options.model_validate(options)
    weights = [p for p in model.parameters() if p.dim() > 1]
    groups = [weights] if chosen.scope == "global" else [[w] for w in weights]
    zeros = [w.detach() == 0 for w in weights]
    end = round(chosen.pruning_share * chosen.epochs * (len(task.train_x) // min(chosen.batch_size, len(task.train_x))))
    step = 0

    @torch.no_grad()
    def hold_zeros() -> None:
        for weight, zero in zip(weights, zeros, strict=True):
            weight.masked_fill_(zero, 0)

    @torch.no_grad()
    def prune(sparsity: float) -> None:
        for group in groups:
            zero_smallest(group, sparsity)
        for weight, zero in zip(weights, zeros, strict=True):
            zero |= weight == 0

    def after_step() -> None:
        nonlocal step
        step += 1
        hold_zeros()
        if step == end or (step < end and step % chosen.every == 0):
            prune(cubic_sparsity(step / end, chosen.initial_sparsity, chosen.sparsity))

    prune(cubic_sparsity(0.0, chosen.initial_sparsity, chosen.sparsity) if end else chosen.sparsity)
    fit(model, task, chosen, after_step=after_step)
    refuse_dead_network(model, task)
    return model


def cubic_sparsity(progress: float, initial: float, final: float) -> float:
    """The formula above; `progress` is t / t_end, from 0 to 1."""
    return final + (initial - final) * (1 - progress) ** 3
