"""What several methods do to a module's layers: zero weights, listen to outputs, train through a rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from edgeproof.core.errors import ConfigError, suggest_nearest
from edgeproof.models.training import EVALUATION_BATCH, Recipe, TrainingTask, compute_logits, fit

Rounding = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def record_outputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Listen to layers by their dotted names: the yielded dictionary holds what each put out in the last forward pass.

    Raises ConfigError for a name that the module does not have, and, when it runs, for a layer that puts out no tensor.
    """
    layers = {name: layer for name, layer in module.named_modules() if name}
    heard: dict[str, torch.Tensor] = {}

    def listener(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hear(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                raise ConfigError(
                    f"layer '{name}' puts out a {type(output).__name__}, not one tensor. Name the layer behind it; the "
                    f"network has: {', '.join(layers)}."
                )
            heard[name] = output

        return hear

    for name in names:
        if name not in layers:
            raise ConfigError(f"the network has no layer '{name}'.{suggest_nearest(name, layers)} It has: {', '.join(layers)}.")
    handles = [layers[name].register_forward_hook(listener(name)) for name in dict.fromkeys(names)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def pool_to_same_resolution(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Average-pool two (N, C, H, W) maps to the smaller height and width of both. (N, C) counts as (N, C, 1, 1)."""
    maps = [x[:, :, None, None] if x.dim() == 2 else x for x in (first, second)]
    for x in maps:
        if x.dim() != 4:
            raise ConfigError(f"a layer's output must be (N, C) or (N, C, H, W) to be compared, not {tuple(x.shape)}.")
    size = min(x.shape[2] for x in maps), min(x.shape[3] for x in maps)
    pooled = [functional.adaptive_avg_pool2d(x, size) for x in maps]
    return pooled[0], pooled[1]


def find_weighted_layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers by their dotted names, in the module's order."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


@torch.no_grad()
def zero_smallest(weights: Sequence[nn.Parameter], sparsity: float) -> None:
    """Zero exactly round(sparsity × count) of the smallest magnitudes in all these tensors together, ties in order."""
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    zeros = torch.zeros(len(magnitudes), dtype=torch.bool)
    zeros[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = True
    for weight, zero in zip(weights, torch.split(zeros, [w.numel() for w in weights]), strict=True):
        weight.masked_fill_(zero.reshape(weight.shape), 0.0)  # multiplied by a mask, a negative one would become -0.0


def refuse_dead_network(module: nn.Module, task: TrainingTask) -> None:
    """Raise ConfigError when layers are empty and the answers no longer depend on the input.

    An emptied layer alone is no mistake: a shortcut may lead around it.
    """
    empty = [name for name, layer in find_weighted_layers(module).items() if not layer.weight.any()]
    if not empty:
        return
    logits = compute_logits(module, task.train_x[:EVALUATION_BATCH])
    if float((logits - logits[0]).abs().max()) <= 1e-6 * float(logits.abs().max()):
        raise ConfigError(
            f"nothing passes through the network any more: no weight is left in {', '.join(empty)}. Take less away: a "
            "smaller sparsity or penalty, more bits, a wider clipping, or the other scope where the method has one."
        )


def round_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Round a weight tensor (output channels first) to 2^bits − 1 evenly spaced levels around zero in each channel.

        Q(w) = s · clip(round(w / s), −(2^(b−1) − 1), 2^(b−1) − 1),   s = max|w| / (2^(b−1) − 1)

    Symmetric per-channel quantization of Krishnamoorthi, "Quantizing deep convolutional networks" (2018), section 3.
    """
    levels = 2 ** (bits - 1) - 1
    peak = weight.abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
    scale = (peak / levels).reshape(-1, *[1] * (weight.dim() - 1))
    rounded: torch.Tensor = (weight / scale).round().clamp(-levels, levels) * scale
    return rounded


class StudentWithAdapter(nn.Module):
    """The student with an adapter beside it, so that both are trained."""

    def __init__(self, student: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.student, self.adapter = student, adapter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.student(x)
        return logits


def fit_with_rounding(
    module: nn.Module, task: TrainingTask, recipe: Recipe, rounding: Rounding | Mapping[str, Rounding]
) -> nn.Module:
    """Fine-tune with `rounding` applied to the weights of every convolution and linear layer, and leave them rounded.

    Each layer has its own where `rounding` maps layers' dotted names. The gradient passes the rounding unchanged, the
    straight-through estimator of Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons"
    (2013). Weights that are zero before stay zero: what was pruned stays pruned.
    """
    layers = find_weighted_layers(module)
    for name, layer in layers.items():
        chosen = rounding[name] if isinstance(rounding, Mapping) else rounding
        parametrize.register_parametrization(layer, "weight", _StraightThrough(chosen, layer.weight.detach() != 0))
    fit(module, task, recipe)
    refuse_dead_network(module, task)
    for layer in layers.values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


class _StraightThrough(nn.Module):
    def __init__(self, rounding: Rounding, mask: torch.Tensor) -> None:
        super().__init__()
        self.rounding, self.mask = rounding, mask

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        rounded = self.rounding(weight.detach() * self.mask)
        # Adding zero keeps the rounded values exactly; the usual weight + (rounded − weight) would not.
        return torch.where(self.mask, rounded + (weight - weight.detach()), 0.0)
