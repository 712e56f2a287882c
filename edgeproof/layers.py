"""What several methods do to a module's layers: remove channels, listen to outputs, train through a rounding."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from .core.errors import ConfigError, nearest
from .training import Recipe, TrainingTask, fit


def remove_channels(
    module: nn.Module,
    task: TrainingTask,
    importance: Callable[[Any], torch.Tensor],
    *,
    ratio: float,
    round_to: int,
) -> None:
    """Remove the least important `ratio` of every layer's channels but the last's, and all that is coupled to them.

    What is left is a multiple of `round_to`. `importance` maps a group of coupled layers to a value a channel
    (Torch-Pruning's contract). Layers that a network lists in `fixed_layers()` keep their channels too. Raises
    ConfigError when nothing is removed.
    """
    import torch_pruning

    before = sum(p.numel() for p in module.parameters())
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1:]
    fixed = module.fixed_layers() if hasattr(module, "fixed_layers") else []
    with warnings.catch_warnings():
        # It says how it will cut parameters outside of layers; those that networks have belong to fixed layers.
        warnings.filterwarnings("ignore", "Unwrapped parameters")
        pruner = torch_pruning.pruner.BasePruner(
            module,
            torch.zeros(1, *task.input_shape),
            importance=importance,
            pruning_ratio=ratio,
            round_to=round_to,
            ignored_layers=[*last, *fixed],
        )
    pruner.step()
    if sum(p.numel() for p in module.parameters()) == before:
        raise ConfigError(
            f"no channel was removed: ratio {ratio} rounded to multiples of {round_to} leaves every layer as it is. "
            "Use a larger ratio or a smaller round_to."
        )


@contextmanager
def outputs_of(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Listen to layers by their dotted names: the yielded dictionary holds what each put out in the last forward pass.

    Raises ConfigError for a name that the module does not have.
    """
    layers = {name: layer for name, layer in module.named_modules() if name}
    heard: dict[str, torch.Tensor] = {}

    def listener(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hear(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            heard[name] = output

        return hear

    for name in names:
        if name not in layers:
            raise ConfigError(f"the network has no layer '{name}'.{nearest(name, layers)} It has: {', '.join(layers)}.")
    handles = [layers[name].register_forward_hook(listener(name)) for name in dict.fromkeys(names)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def same_resolution(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Average-pool two (N, C, H, W) maps to the smaller height and width of both. (N, C) counts as (N, C, 1, 1)."""
    maps = [x[:, :, None, None] if x.dim() == 2 else x for x in (first, second)]
    for x in maps:
        if x.dim() != 4:
            raise ConfigError(f"a layer's output must be (N, C) or (N, C, H, W) to be compared, not {tuple(x.shape)}.")
    size = min(x.shape[2] for x in maps), min(x.shape[3] for x in maps)
    pooled = [functional.adaptive_avg_pool2d(x, size) for x in maps]
    return pooled[0], pooled[1]


def fit_rounded(
    module: nn.Module, task: TrainingTask, recipe: Recipe, rounding: Callable[[torch.Tensor], torch.Tensor]
) -> nn.Module:
    """Fine-tune with `rounding` applied to the weights of every convolution and linear layer, and leave them rounded.

    The gradient passes the rounding unchanged, the straight-through estimator of Bengio et al., "Estimating or
    Propagating Gradients Through Stochastic Neurons" (2013). Weights that are zero before stay zero: what was pruned
    stays pruned.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _StraightThrough(rounding, layer.weight.detach() != 0))
    fit(module, task, recipe)
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


class _StraightThrough(nn.Module):
    def __init__(self, rounding: Callable[[torch.Tensor], torch.Tensor], mask: torch.Tensor) -> None:
        super().__init__()
        self.rounding, self.mask = rounding, mask

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        rounded = self.rounding(weight.detach() * self.mask)
        # Adding zero keeps the rounded values exactly; the usual weight + (rounded − weight) would not.
        return torch.where(self.mask, rounded + (weight - weight.detach()), 0.0)
