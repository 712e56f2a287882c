"""Unstructured pruning by an L1 penalty: what the data does not hold against it becomes zero while training.

    minimize L(w) + λ · Σ |w|

over the weights of all tensors with more than one dimension, the lasso of Tibshirani, "Regression Shrinkage and
Selection via the Lasso" (1996), which Han et al., "Learning both Weights and Connections" (2015), section 3.1, compare
for pruning. The penalty has no gradient at zero, and a step along its sign all but never ends there. So each step of
the optimizer is followed by the penalty's own, the exact minimizer of Daubechies et al., "An iterative thresholding
algorithm for linear inverse problems" (2004):

    w ← sign(w) · max(|w| − η λ / (1 − m), 0)

with the step's learning rate η. Momentum m lets a steady gradient move a weight by η / (1 − m), and the threshold is
in proportion: the weights at which training comes to rest are the lasso's.

The penalty also shrinks the weights that stay. So the zeros are then held and the rest is fine-tuned without it, the
relaxed lasso of Meinshausen (2007). How many zeros there are is λ's doing; for a given share, let prune_weights follow.
Weights that were zero before stay zero. The zeros stay in dense tensors: the entropy-coded size shrinks, the latency
does not.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from edgeproof.models.layers import refuse_dead_network
from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/penalize_weights.yaml may set."""

    penalty: PositiveFloat = Field(description="λ above; near the size of the loss's gradients for single weights")
    penalty_epochs: PositiveInt = Field(description="with the penalty; 'epochs' of fine-tuning follow")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` with the penalty, then fine-tune what is not zero."""
    chosen = Options.model_validate(options)
    weights = [p for p in model.parameters() if p.dim() > 1]
    strength = chosen.penalty / (1 - chosen.momentum)

    @torch.no_grad()
    def shrink(learning_rate: float) -> None:
        for weight in weights:
            weight.copy_(soft_threshold(weight, learning_rate * strength))

    penalized = chosen.model_copy(update={"epochs": chosen.penalty_epochs})
    fit(model, task, penalized, proximal=shrink, keep_zeros=True)
    refuse_dead_network(model, task)
    return fit(model, task, chosen, keep_zeros=True)


def soft_threshold(weight: torch.Tensor, threshold: float) -> torch.Tensor:
    """Each weight moved towards zero by the threshold, and no further than zero."""
    # Adding 0.0 makes a negative zero a positive one.
    return weight.sign() * (weight.abs() - threshold).clamp_min(0.0) + 0.0
