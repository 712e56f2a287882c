"""Unstructured magnitude pruning: zero the smallest weights, then fine-tune what is left.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015), with one threshold for the
whole network, or one for each layer as in the paper. Weights that were zero before are the first to be chosen, and stay
zero. The zeros stay in dense tensors: the entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from edgeproof.models.layers import refuse_dead_network, zero_smallest
from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/prune_weights.yaml may set."""

    sparsity: float = Field(gt=0, lt=1, description="share of weights set to zero")
    scope: Literal["global", "layer"] = Field(description="the share of all weights together, or of each layer's")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune `model` once to the sparsity and fine-tune it with the zeros held."""
    chosen = Options.model_validate(options)
    weights = [p for p in model.parameters() if p.dim() > 1]
    for group in [weights] if chosen.scope == "global" else [[w] for w in weights]:
        zero_smallest(group, chosen.sparsity)
    refuse_dead_network(model, task)
    return fit(model, task, chosen, keep_zeros=True)
