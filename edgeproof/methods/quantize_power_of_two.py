"""Round weights to powers of two and zero, which need shifts for multiplications; fine-tune through the rounding.

The levels of Zhou et al., "Incremental Network Quantization" (2017), section 2.1, in each tensor with s = max|w|:

    {±2^n1, ±2^(n1−1), …, ±2^n2, 0},   n1 = floor(log2(4s / 3)),   n2 = n1 + 1 − 2^(b−1) / 2

One of b bits' codes is zero; 2 bits leave one magnitude, 5 bits eight. A weight goes to the nearest level (the powers'
midpoints are 3/4 of the larger: |w| becomes 2^floor(log2(4|w| / 3)), or zero below 2^n2 / 2). All weights at once are
fine-tuned with the straight-through estimator here, where the paper freezes them in groups. Weights that were zero
before stay zero: what was pruned stays pruned. No runtime has kernels for such weights: they are stored as floats, so
the gain shows in the entropy-coded size and not in the latency.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from edgeproof.models.layers import fit_with_rounding
from edgeproof.models.training import Recipe, TrainingTask


class Options(Recipe):
    """What conf/methods/quantize_power_of_two.yaml may set."""

    bits: int = Field(ge=2, le=6)


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Fine-tune `model` with rounded weights in every convolution and linear layer, and leave them rounded."""
    chosen = Options.model_validate(options)
    return fit_with_rounding(model, task, chosen, lambda weight: round_to_power_of_two(weight, chosen.bits))


def round_to_power_of_two(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The nearest level of each weight of one tensor."""
    magnitudes = weight.abs()
    levels = _nearest_power(magnitudes)
    smallest = levels.max() * 2.0 ** (1 - 2 ** (bits - 2))
    levels = torch.where(magnitudes < smallest / 2, 0.0, levels.clamp_min(smallest))
    return levels.copysign(weight)


def _nearest_power(magnitudes: torch.Tensor) -> torch.Tensor:
    """2^floor(log2(4m / 3)) without a logarithm's rounding, and 0 for 0."""
    mantissa, _ = magnitudes.frexp()  # m = mantissa · 2^e with 1/2 ≤ mantissa < 1, so m / mantissa is 2^e exactly
    return torch.where(magnitudes > 0, magnitudes / mantissa * torch.where(mantissa < 0.75, 0.5, 1.0), 0.0)
