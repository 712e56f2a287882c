"""Round weights to 2^bits − 1 levels a channel, fine-tuning through the rounding with the straight-through estimator.

    Q(w) = s · clip(round(w / s), −(2^(b−1) − 1), 2^(b−1) − 1),   s = max|w| / (2^(b−1) − 1) in each output channel

Symmetric per-channel quantization of Krishnamoorthi, "Quantizing deep convolutional networks" (2018), section 3; the
gradient passes the rounding unchanged (Bengio et al., 2013). No runtime has kernels for such weights: they are stored
dequantized, so the gain shows in the entropy-coded size and not in the latency.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from edgeproof.layers import fit_rounded
from edgeproof.training import Recipe, TrainingTask


class Options(Recipe):
    """What conf/methods/round_weights.yaml may set."""

    bits: int = Field(ge=2, le=8)


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Fine-tune `model` with rounded weights in every convolution and linear layer, and leave them rounded."""
    chosen = Options.model_validate(options)
    return fit_rounded(model, task, chosen, lambda weight: round_weight(weight, chosen.bits))


def round_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The formula above for one weight tensor (output channels first)."""
    levels = 2 ** (bits - 1) - 1
    peak = weight.abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
    scale = (peak / levels).reshape(-1, *[1] * (weight.dim() - 1))
    rounded: torch.Tensor = (weight / scale).round().clamp(-levels, levels) * scale
    return rounded
