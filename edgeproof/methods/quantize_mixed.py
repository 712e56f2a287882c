"""Quantize each layer's weights to as many bits as it is worth: widths by measured sensitivity, under a size budget.

    minimize Σ_l ΔL(l, b_l)   over b_l of the widths offered,   subject to Σ_l n_l · b_l ≤ mean_bits · Σ_l n_l

with ΔL(l, b), how much the loss on training samples rises when layer l alone is rounded to b bits as in round_weight,
and its number of weights n_l, zeros among them. That layers' rises add up is an assumption. Hubara et al., "Accurate
Post Training Quantization With Small Calibration Sets" (2021), measure and choose so; Yao et al., "HAWQ-V3" (2021),
solve the same integer program with rises estimated from the Hessian.

Then the network is fine-tuned through the rounding. Weights that were zero before stay zero. A layer's width can be
read from its weights: it is the least one on whose levels they all are. No runtime has kernels for such weights: they
are stored dequantized, so the gain shows in the entropy-coded size and not in the latency.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from edgeproof.models.layers import find_weighted_layers, fit_with_rounding, round_weight
from edgeproof.models.training import Recipe, TrainingTask, compute_logits


class Options(Recipe):
    """What conf/methods/quantize_mixed.yaml may set."""

    bits: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(min_length=1, description="widths offered, ascending")
    mean_bits: float = Field(description="budget: bits a weight on average, from the least to the largest width")
    samples: PositiveInt = Field(description="how many training samples, from the first, measure the loss")

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        if any(a >= b for a, b in itertools.pairwise(self.bits)):
            raise ValueError("bits must be ascending, none twice")
        if not self.bits[0] <= self.mean_bits <= self.bits[-1]:
            raise ValueError(
                f"mean_bits must be between {self.bits[0]} and {self.bits[-1]}, the least and largest bits"
            )
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Choose every convolution and linear layer's width, fine-tune `model` with rounded weights, leave them rounded."""
    chosen = Options.model_validate(options)
    layers = find_weighted_layers(model)
    rises = measure_sensitivities(model, task.train_x[: chosen.samples], task.train_y[: chosen.samples], chosen.bits)
    sizes = [layer.weight.numel() for layer in layers.values()]
    widths = dict(zip(layers, allocate_bits(rises, sizes, chosen.bits, chosen.mean_bits), strict=True))
    print("  bits: " + ", ".join(f"{name} {bits}" for name, bits in widths.items()), file=sys.stderr)
    return fit_with_rounding(
        model, task, chosen, {name: functools.partial(round_weight, bits=bits) for name, bits in widths.items()}
    )


@torch.no_grad()
def measure_sensitivities(
    model: nn.Module, x: torch.Tensor, labels: torch.Tensor, bits: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """ΔL (layers, widths): the rise of the mean cross-entropy when one layer alone is rounded."""

    def loss() -> float:
        return float(nn.functional.cross_entropy(compute_logits(model, x).double(), labels))

    before, rises = loss(), []
    for layer in find_weighted_layers(model).values():
        weight = layer.weight.clone()
        for width in bits:
            layer.weight.copy_(round_weight(weight, width))
            rises.append(loss() - before)
        layer.weight.copy_(weight)
    return np.array(rises).reshape(-1, len(bits))


def allocate_bits(
    rises: np.ndarray[Any, np.dtype[np.float64]], sizes: Sequence[int], bits: Sequence[int], mean_bits: float
) -> list[int]:
    """The width of each layer that solves the program above, by branch and bound (HiGHS)."""
    layers, widths = rises.shape
    # HiGHS stops within an absolute gap of 1e-6: among values of up to a million, that is no gap worth the name.
    costs = (rises - rises.min()) * 1e6 / (float(np.ptp(rises)) or 1.0)
    budget = LinearConstraint(np.outer(sizes, bits).reshape(1, -1), ub=math.floor(round(mean_bits * sum(sizes), 6)))
    one_each = LinearConstraint(np.kron(np.eye(layers), np.ones(widths)), 1, 1)
    solution = milp(
        costs.ravel(),
        constraints=[budget, one_each],
        integrality=np.ones(costs.size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    return [bits[choice] for choice in solution.x.reshape(layers, widths).argmax(1)]
