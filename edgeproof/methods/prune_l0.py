"""Pruning by learned gates: each weight, or each layer's input channel, has a gate that training may close.

Louizos, Welling, Kingma: "Learning Sparse Neural Networks through L0 Regularization" (2018):

    minimize E[L(w · z)] + λ · Σ_gates size · P(z ≠ 0)

A gate z is drawn in each step from the hard concrete distribution of its parameter log α (equations 10 and 11), and
takes its deterministic value ẑ (equation 13) in the end, when weights are multiplied by it:

    s = σ((log u − log(1 − u) + log α) / β),   z = clip(s · (ζ − γ) + γ, 0, 1),   u uniform in 0..1
    P(z ≠ 0) = σ(log α − β · log(−γ / ζ)),     ẑ = clip(σ(log α) · (ζ − γ) + γ, 0, 1)

with the paper's β = 2/3, γ = −0.1 and ζ = 1.1. `size` is the number of weights of a gate, so that λ prices a weight.
Gates start almost open and are never decayed. A gate of a channel belongs to what a layer reads, not to what it puts
out: a normalization after it would undo any scale but zero. A layer that reads one channel (or, as depthwise
convolutions do, one each) has none to spare and no gates of channels. Gates that close leave zeros, which are held
while the rest is fine-tuned; weights that were zero before stay zero. The zeros stay in dense tensors: the
entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.models.layers import find_weighted_layers, refuse_dead_network
from edgeproof.models.training import Batch, ParameterGroup, Recipe, TrainingTask, cross_entropy, fit

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
# The paper's choice for a gate that is dropped in one of ten steps or, stretched as it is, in one of 45.
INITIAL_LOG_ALPHA = math.log(0.9 / 0.1)


class Options(Recipe):
    """What conf/methods/prune_l0.yaml may set."""

    gates: Literal["weight", "channel"] = Field(description="what has a gate of its own")
    penalty: PositiveFloat = Field(description="λ above, the loss that a weight must be worth")
    gate_learning_rate: PositiveFloat = Field(description="peak for log α, whose gradients are far below weights'")
    penalty_epochs: PositiveInt = Field(description="with gates; 'epochs' of fine-tuning with their zeros follow")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` with gates, multiply them into the weights, and fine-tune what is left."""
    chosen = Options.model_validate(options)
    generator = torch.Generator().manual_seed(task.seed)
    layers = [
        layer for layer in find_weighted_layers(model).values() if chosen.gates == "weight" or layer.weight.shape[1] > 1
    ]
    gates = [Gates(layer.weight.detach(), chosen.gates, generator) for layer in layers]
    for layer, gate in zip(layers, gates, strict=True):
        parametrize.register_parametrization(layer, "weight", gate)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return cross_entropy(logits, batch) + chosen.penalty * torch.stack([g.count_expected_weights() for g in gates]).sum()

    fit(
        model,
        task,
        chosen.model_copy(update={"epochs": chosen.penalty_epochs}),
        loss=loss,
        apart=ParameterGroup([gate.log_alpha for gate in gates], chosen.gate_learning_rate),
    )
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    refuse_dead_network(model, task)
    return fit(model, task, chosen, keep_zeros=True)


class Gates(nn.Module):
    """The gates of one weight tensor (outputs, inputs, …): drawn in training, deterministic in evaluation."""

    def __init__(self, weight: torch.Tensor, kind: str, generator: torch.Generator) -> None:
        super().__init__()
        self.mask = weight != 0
        axes = [axis for axis in range(weight.dim()) if axis != 1] if kind == "channel" else []
        self.sizes = self.mask.sum(axes, keepdim=True) if axes else self.mask
        self.log_alpha = nn.Parameter(torch.full(self.sizes.shape, INITIAL_LOG_ALPHA))
        self.generator = generator

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights times their gates."""
        if self.training:
            gates = sample_gates(self.log_alpha, torch.rand(self.log_alpha.shape, generator=self.generator))
        else:
            gates = compute_final_gates(self.log_alpha)
        return torch.where(self.mask & (gates != 0), weight * gates, 0.0)

    def count_expected_weights(self) -> torch.Tensor:
        """How many weights are not zero, on average over draws."""
        return (open_probability(self.log_alpha) * self.sizes).sum()


def sample_gates(log_alpha: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """A draw of the hard concrete distribution, from uniform u in 0..1."""
    return _stretch((torch.logit(u, eps=1e-6) + log_alpha).div(BETA).sigmoid())


def compute_final_gates(log_alpha: torch.Tensor) -> torch.Tensor:
    """The gates' value in the end."""
    return _stretch(log_alpha.sigmoid())


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """The probability that a drawn gate is not zero."""
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()


def _stretch(share: torch.Tensor) -> torch.Tensor:
    return (share * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
