"""Quantize weights to powers of two and zero, which need shifts instead of multiplications, and fine-tune them.

The levels of Zhou et al., "Incremental Network Quantization" (2017), section 2.1, with s = max|w| in each tensor:

    {±2^n1, ±2^(n1−1), …, ±2^n2, 0},   n1 = floor(log2(4s / 3)),   n2 = n1 + 1 − 2^(b−1) / 2

One of the codes of b bits is zero: 2 bits leave one magnitude, 5 bits eight. A weight is rounded to the nearest level.
The midpoint of two powers is 3/4 of the larger, so |w| becomes 2^floor(log2(4|w| / 3)), or zero below 2^n2 / 2.

All weights are fine-tuned together with the straight-through estimator; the paper freezes them in groups instead.
Weights that were zero before stay zero. No runtime has kernels for such weights. They are stored as floats: the
entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from edgeproof.models.training import Recipe
from edgeproof.models.training_task import TrainingTask
from edgeproof.models.weight_rounding import fit_with_rounding


class Options(Recipe):
    """Options of the method, set in conf/methods/quantize_power_of_two.yaml."""

    bits: int = Field(ge=2, le=6, description="b; 2 bits give one magnitude, 5 bits give eight")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Fine-tune `model` with rounded weights in every convolution and linear layer, and store them rounded."""
    chosen = Options.model_validate(options)
    return fit_with_rounding(model, task, chosen, lambda weight: round_to_power_of_two(weight, chosen.bits))


def round_to_power_of_two(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the nearest level of each weight of one tensor."""
    magnitudes = weight.abs()
    levels = _nearest_power(magnitudes)
    smallest = levels.max() * 2.0 ** (1 - 2 ** (bits - 2))
    levels = torch.where(magnitudes < smallest / 2, 0.0, levels.clamp_min(smallest))
    return levels.copysign(weight)


def _nearest_power(magnitudes: torch.Tensor) -> torch.Tensor:
    """Return 2^floor(log2(4m / 3)) without the rounding error of a logarithm, and 0 for 0."""
    mantissa, _ = magnitudes.frexp()  # m = mantissa · 2^e with 1/2 ≤ mantissa < 1, so m / mantissa is 2^e exactly
    return torch.where(magnitudes > 0, magnitudes / mantissa * torch.where(mantissa < 0.75, 0.5, 1.0), 0.0)
