"""Prune weights gradually: zero more and more of the smallest weights during training (unstructured pruning).

Zhu, Gupta: "To prune, or not to prune: exploring the efficacy of pruning for model compression" (2017), equation 1:

    s_t = s_f + (s_i − s_f) · (1 − t / t_end)³      until step t_end, then s_f

with the initial sparsity s_i and the final sparsity s_f: many weights are pruned early, while many are redundant, and
few towards the end. Pruned weights stay zero, and so do weights that were zero before.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from edgeproof.models.layers import refuse_dead_network, zero_smallest
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask, count_steps
from edgeproof.models.weight_masks import find_weights, find_zeros, restore_zeros


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_gradual.yaml."""

    initial_sparsity: float = Field(ge=0, lt=1, description="share of weights set to zero before training")
    sparsity: float = Field(gt=0, lt=1, description="final share of weights set to zero")
    scope: Literal["global", "layer"] = Field(description="count the share over all weights together or in each layer")
    every: PositiveInt = Field(description="steps from one pruning to the next, at least 1")
    pruning_share: float = Field(
        gt=0, le=1, description="share of all steps in which to prune; the other steps only fine-tune"
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.initial_sparsity > self.sparsity:
            raise ValueError("initial_sparsity must not be above sparsity")
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune `model` step by step to the sparsity while fine-tuning it. With 0 epochs, prune it at once.

    Raises ConfigError if the output of the network no longer depends on its input.
    """
    chosen = Options.model_validate(options)
    weights = find_weights(model)
    groups = [weights] if chosen.scope == "global" else [[w] for w in weights]
    masks = find_zeros(model)
    last_step = round(chosen.pruning_share * chosen.epochs * count_steps(task, chosen.batch_size))
    step = 0

    @torch.no_grad()
    def prune(sparsity: float) -> None:
        for group in groups:
            zero_smallest(group, sparsity)
        for weight, zero in masks:
            zero |= weight == 0

    def after_step() -> None:
        nonlocal step
        step += 1
        restore_zeros(masks)
        if step == last_step or (step < last_step and step % chosen.every == 0):
            prune(cubic_sparsity(step / last_step, chosen.initial_sparsity, chosen.sparsity))

    prune(cubic_sparsity(0.0, chosen.initial_sparsity, chosen.sparsity) if last_step else chosen.sparsity)
    fit(model, task, chosen, after_step=after_step)
    refuse_dead_network(model, task)
    return model


def cubic_sparsity(progress: float, initial: float, final: float) -> float:
    """Return the sparsity s_t of the formula above. `progress` is t / t_end, from 0 to 1."""
    return final + (initial - final) * (1 - progress) ** 3
