"""Prune weights by an L1 penalty during training (unstructured pruning).

    minimize L(w) + λ · Σ |w|

over the weights of all tensors with more than one dimension: the lasso of Tibshirani, "Regression Shrinkage and
Selection via the Lasso" (1996). Han et al., "Learning both Weights and Connections" (2015), section 3.1, compare it for
pruning.

A gradient step along the sign of w almost never ends exactly at zero. So each step of the optimizer is followed by a
proximal step, the exact minimizer of Daubechies et al., "An iterative thresholding algorithm for linear inverse
problems" (2004):

    w ← sign(w) · max(|w| − η λ / (1 − m), 0)

with the learning rate η of the step and the momentum m. Under momentum, a constant gradient moves a weight by
η / (1 − m), and the threshold is in proportion, so training converges to the weights of the lasso.

The penalty also shrinks the weights that remain. Therefore the zeros are then held and the other weights fine-tuned
without the penalty: the relaxed lasso of Meinshausen (2007). λ determines the number of zeros. For a given sparsity,
apply prune_weights afterwards.

Weights that were zero before stay zero. Zeros are stored in dense tensors: the entropy-coded size shrinks, the latency
does not.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from edgeproof.models.layers import refuse_dead_network
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask
from edgeproof.models.weight_masks import find_weights


class Options(Recipe):
    """Options of the method, set in conf/methods/penalize_weights.yaml."""

    penalty: PositiveFloat = Field(description="λ; about the size of the loss's gradient for one weight")
    penalty_epochs: PositiveInt = Field(description="epochs with the penalty; then come 'epochs' of fine-tuning")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` with the penalty, then fine-tune the weights that are not zero.

    Raises ConfigError if the penalty leaves a network whose output no longer depends on its input.
    """
    chosen = Options.model_validate(options)
    weights = find_weights(model)
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
    """Return each weight moved towards zero by the threshold, at most to zero."""
    # Adding 0.0 turns a negative zero into a positive one.
    return weight.sign() * (weight.abs() - threshold).clamp_min(0.0) + 0.0
