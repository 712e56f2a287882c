"""Quantize weights to 2^n evenly spaced levels, and fine-tune them with the straight-through estimator.

    Q(x) = round((x − x_min) / (x_max − x_min) · (2^n − 1)),   stored as x_min + Q(x) · (x_max − x_min) / (2^n − 1)

Affine quantization as in Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference" (2018), of each tensor or each output channel. First x is clipped to a range:

    minmax       x_min and x_max are the smallest and the largest weight (symmetric: ∓ the largest magnitude)
    percentile   p in 50..100: the (100 − p)-th and p-th percentile (symmetric: ∓ the p-th of the magnitudes)
    mse          the minmax range times the factor of 0.05, 0.10, …, 1 with the least squared error

Weights that were zero before stay zero, even if zero is not a level. No runtime has kernels for such weights. They are
stored dequantized: the entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from edgeproof.models.training import Recipe
from edgeproof.models.training_task import TrainingTask
from edgeproof.models.weight_rounding import fit_with_rounding

Clipping = Literal["minmax", "mse"] | Annotated[float, Field(gt=50, lt=100)]
SHRINK_STEPS = 20


class Options(Recipe):
    """Options of the method, set in conf/methods/quantize_linear.yaml."""

    bits: int = Field(ge=2, le=8, description="n, for 2^n levels")
    symmetric: bool = Field(description="true for x_min = −x_max")
    per: Literal["tensor", "channel"] = Field(description="one range for each tensor or for each output channel")
    clipping: Clipping = Field(description="how to find the range: minmax, mse, or a percentile such as 99.9")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Fine-tune `model` with quantized weights in every convolution and linear layer, and store them quantized."""
    chosen = Options.model_validate(options)

    def rounding(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.reshape(1 if chosen.per == "tensor" else len(weight), -1)
        low, high = find_range(rows, chosen.bits, symmetric=chosen.symmetric, clipping=chosen.clipping)
        return quantize(rows, low, high, chosen.bits).reshape(weight.shape)

    return fit_with_rounding(model, task, chosen, rounding)


def quantize(rows: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """Return rows (R, count) of weights quantized by the formula above, with ranges `low` and `high` (R, 1)."""
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(rows.dtype).tiny)
    quantized: torch.Tensor = low + ((rows.clamp(low, high) - low) / step).round() * step
    return quantized


def find_range(
    rows: torch.Tensor, bits: int, *, symmetric: bool, clipping: Clipping
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_min and x_max (R, 1) of rows (R, count) of weights."""
    share = clipping / 100 if isinstance(clipping, float) else 1.0
    if symmetric:
        high = rows.abs().quantile(share, dim=1, keepdim=True)
        low = -high
    else:
        low, high = (rows.quantile(q, dim=1, keepdim=True) for q in (1 - share, share))
    return _minimize_error(rows, low, high, bits) if clipping == "mse" else (low, high)


def _minimize_error(
    rows: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    best, least = (low, high), torch.full_like(low, torch.inf)
    for shrink in range(SHRINK_STEPS, 0, -1):
        candidate = low * (shrink / SHRINK_STEPS), high * (shrink / SHRINK_STEPS)
        error = (quantize(rows, *candidate, bits) - rows).square().mean(1, keepdim=True)
        better = error < least
        best = torch.where(better, candidate[0], best[0]), torch.where(better, candidate[1], best[1])
        least = torch.where(better, error, least)
    return best
