"""Round weights to 2^bits − 1 levels a channel, fine-tuning through the rounding with the straight-through estimator.

Symmetric per-channel quantization as in layers.round_weight; the gradient passes the rounding unchanged (Bengio et al.,
2013). No runtime has kernels for such weights: they are stored dequantized, so the gain shows in the entropy-coded size
and not in the latency.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from edgeproof.models.layers import fit_with_rounding, round_weight
from edgeproof.models.training import Recipe, TrainingTask


class Options(Recipe):
    """What conf/methods/round_weights.yaml may set."""

    bits: int = Field(ge=2, le=8)


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Fine-tune `model` with rounded weights in every convolution and linear layer, and leave them rounded."""
    chosen = Options.model_validate(options)
    return fit_with_rounding(model, task, chosen, lambda weight: round_weight(weight, chosen.bits))
