"""Prune weights by L0 regularization: each weight or input channel of a layer has a gate that training may close.

Louizos, Welling, Kingma: "Learning Sparse Neural Networks through L0 Regularization" (2018):

    minimize E[L(w · z)] + λ · Σ_gates size · P(z ≠ 0)

In each step, a gate z is drawn from the hard concrete distribution of its parameter log α (equations 10 and 11). After
training, each weight is multiplied by the deterministic gate ẑ (equation 13):

    s = σ((log u − log(1 − u) + log α) / β),   z = clip(s · (ζ − γ) + γ, 0, 1),   u uniform in 0..1
    P(z ≠ 0) = σ(log α − β · log(−γ / ζ)),     ẑ = clip(σ(log α) · (ζ − γ) + γ, 0, 1)

with β = 2/3, γ = −0.1 and ζ = 1.1 as in the paper. `size` is the number of weights of a gate, so λ is the price of one
weight. Gates are almost open at the start and have no weight decay.

The gate of a channel belongs to the layer that reads it. In the layer that outputs it, a normalization after the layer
would undo every scale except zero. Layers that read one channel, including depthwise convolutions, have no channel
gates.

Closed gates leave zeros, which are held while the other weights are fine-tuned. Weights that were zero before stay
zero. Zeros are stored in dense tensors: the entropy-coded size shrinks, the latency does not.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.models.layers import find_weighted_layers, refuse_dead_network
from edgeproof.models.training import ParameterGroup, Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
# The initial value of the paper for a dropout rate of 0.1. After stretching, a gate is zero in one of 45 steps.
INITIAL_LOG_ALPHA = math.log(0.9 / 0.1)


class Options(Recipe):
    """Options of the method, set in conf/methods/prune_l0.yaml."""

    gates: Literal["weight", "channel"] = Field(
        description="one gate for each weight, or for each input channel of a layer"
    )
    penalty: PositiveFloat = Field(description="λ, the price of one weight in units of the loss")
    gate_learning_rate: PositiveFloat = Field(
        description="peak rate for log α, whose gradients are far smaller than those of weights"
    )
    penalty_epochs: PositiveInt = Field(
        description="epochs with gates; then come 'epochs' of fine-tuning with the zeros held"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` with gates, multiply the weights by their final gates, and fine-tune the weights that remain.

    Raises ConfigError if the output of the network no longer depends on its input.
    """
    chosen = Options.model_validate(options)
    generator = torch.Generator().manual_seed(task.seed)
    layers = [
        layer for layer in find_weighted_layers(model).values() if chosen.gates == "weight" or layer.weight.shape[1] > 1
    ]
    gates = [HardConcreteGates(layer.weight.detach(), chosen.gates, generator) for layer in layers]
    for layer, gate in zip(layers, gates, strict=True):
        parametrize.register_parametrization(layer, "weight", gate)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        expected_weights = torch.stack([gate.count_expected_weights() for gate in gates]).sum()
        return task.loss(logits, batch) + chosen.penalty * expected_weights

    fit(
        model,
        task,
        chosen.model_copy(update={"epochs": chosen.penalty_epochs}),
        loss=loss,
        separate_group=ParameterGroup([gate.log_alpha for gate in gates], chosen.gate_learning_rate),
    )
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    refuse_dead_network(model, task)
    return fit(model, task, chosen, keep_zeros=True)


class HardConcreteGates(nn.Module):
    """The gates of one weight tensor (outputs, inputs, …): random in training mode, fixed in evaluation mode."""

    def __init__(self, weight: torch.Tensor, kind: str, generator: torch.Generator) -> None:
        super().__init__()
        self.mask = weight != 0
        axes = [axis for axis in range(weight.dim()) if axis != 1] if kind == "channel" else []
        self.sizes = self.mask.sum(axes, keepdim=True) if axes else self.mask
        self.log_alpha = nn.Parameter(torch.full(self.sizes.shape, INITIAL_LOG_ALPHA))
        self.generator = generator

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights multiplied by their gates."""
        if self.training:
            gates = sample_gates(self.log_alpha, torch.rand(self.log_alpha.shape, generator=self.generator))
        else:
            gates = compute_final_gates(self.log_alpha)
        return torch.where(self.mask & (gates != 0), weight * gates, 0.0)

    def count_expected_weights(self) -> torch.Tensor:
        """Return the expected number of weights that are not zero."""
        return (open_probability(self.log_alpha) * self.sizes).sum()


def sample_gates(log_alpha: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Draw gates from the hard concrete distribution. `u` is uniform in 0..1."""
    return _stretch((torch.logit(u, eps=1e-6) + log_alpha).div(BETA).sigmoid())


def compute_final_gates(log_alpha: torch.Tensor) -> torch.Tensor:
    """Return the deterministic gates ẑ, which replace the random ones after training."""
    return _stretch(log_alpha.sigmoid())


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """Return the probability that a random gate is not zero."""
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()


def _stretch(share: torch.Tensor) -> torch.Tensor:
    return (share * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
