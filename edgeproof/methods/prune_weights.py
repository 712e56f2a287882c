"""Prune weights by magnitude: zero the smallest weights once, then fine-tune the others (unstructured pruning).

Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015). The threshold is one for the
whole network (scope "global") or one for each layer as in the paper (scope "layer"). Weights that were zero before
count towards the sparsity and stay zero. Zeros are stored in dense tensors: the entropy-coded size shrinks, the latency
does not.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from edgeproof.models.layers import refuse_dead_network, zero_smallest
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask
from edgeproof.models.weight_masks import find_weights


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_weights.yaml."""

    sparsity: float = Field(gt=0, lt=1, description="share of weights to set to zero")
    scope: Literal["global", "layer"] = Field(description="count the share over all weights together or in each layer")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Prune `model` once to the sparsity, then fine-tune it with the zeros held.

    Raises ConfigError if the output of the network no longer depends on its input.
    """
    chosen = Options.model_validate(options)
    weights = find_weights(model)
    for group in [weights] if chosen.scope == "global" else [[w] for w in weights]:
        zero_smallest(group, chosen.sparsity)
    refuse_dead_network(model, task)
    return fit(model, task, chosen, keep_zeros=True)
