"""Quantize each layer to its own number of bits, chosen by measured sensitivity under a size budget (mixed precision).

    minimize Σ_l ΔL(l, b_l)   over b_l in `bits`,   subject to Σ_l n_l · b_l ≤ mean_bits · Σ_l n_l

ΔL(l, b) is the increase of the loss on training samples when layer l alone is rounded to b bits
(weight_rounding.round_weight), and n_l its number of weights, including zeros. The sum assumes that the increases add
up. Hubara et al., "Accurate Post Training Quantization With Small Calibration Sets" (2021), measure and choose in this
way. Yao et al., "HAWQ-V3" (2021), solve the same integer program with increases estimated from the Hessian.

Then the network is fine-tuned through the rounding. Weights that were zero before stay zero. The bits of a layer can be
read from its weights: the smallest number for which all weights are on levels. No runtime has kernels for such weights.
They are stored dequantized: the entropy-coded size shrinks, the latency does not.
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

from edgeproof.models.layers import find_weighted_layers
from edgeproof.models.training import Recipe
from edgeproof.models.training_task import TrainingTask, build_batch, compute_outputs
from edgeproof.models.weight_rounding import fit_with_rounding, round_weight


class Options(Recipe):
    """Options of the method, set in conf/methods/quantize_mixed.yaml."""

    bits: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(
        min_length=1, description="bit widths to choose from, 2 to 8, ascending"
    )
    mean_bits: float = Field(description="budget: mean bits per weight, between the smallest and the largest width")
    samples: PositiveInt = Field(description="number of training samples for the sensitivities, from the first")

    @model_validator(mode="after")
    def _check_bits(self) -> Self:
        if any(a >= b for a, b in itertools.pairwise(self.bits)):
            raise ValueError("bits must be ascending, without repetition")
        if not self.bits[0] <= self.mean_bits <= self.bits[-1]:
            raise ValueError(
                f"mean_bits must be between {self.bits[0]} and {self.bits[-1]}, the smallest and largest bits"
            )
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Choose the bits of every convolution and linear layer, then fine-tune `model` with rounded weights."""
    chosen = Options.model_validate(options)
    layers = find_weighted_layers(model)
    sensitivities = measure_sensitivities(model, task, chosen.samples, chosen.bits)
    sizes = [layer.weight.numel() for layer in layers.values()]
    widths = dict(zip(layers, allocate_bits(sensitivities, sizes, chosen.bits, chosen.mean_bits), strict=True))
    print("  bits: " + ", ".join(f"{name} {bits}" for name, bits in widths.items()), file=sys.stderr)
    return fit_with_rounding(
        model, task, chosen, {name: functools.partial(round_weight, bits=bits) for name, bits in widths.items()}
    )


@torch.no_grad()
def measure_sensitivities(
    model: nn.Module, task: TrainingTask, samples: int, bits: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ΔL (layers, widths): the increase of the task's loss when one layer alone is rounded.

    The loss is computed over the first `samples` training samples.
    """
    rows = torch.arange(min(samples, len(task.train)))
    batch = build_batch(task, rows, torch.zeros_like(rows))

    def loss() -> float:
        outputs = compute_outputs(model, batch.inputs)
        doubled = tuple(each.double() for each in outputs) if isinstance(outputs, tuple) else outputs.double()
        return float(task.loss(doubled, batch))

    baseline, increases = loss(), []
    for layer in find_weighted_layers(model).values():
        weight = layer.weight.clone()
        for width in bits:
            layer.weight.copy_(round_weight(weight, width))
            increases.append(loss() - baseline)
        layer.weight.copy_(weight)
    return np.array(increases).reshape(-1, len(bits))


def allocate_bits(
    sensitivities: np.ndarray[Any, np.dtype[np.float64]], sizes: Sequence[int], bits: Sequence[int], mean_bits: float
) -> list[int]:
    """Return the bits of each layer that solve the integer program above, by branch and bound (HiGHS)."""
    layers, widths = sensitivities.shape
    # HiGHS stops within an absolute gap of 1e-6, which is negligible for costs of up to a million.
    costs = (sensitivities - sensitivities.min()) * 1e6 / (float(np.ptp(sensitivities)) or 1.0)
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
