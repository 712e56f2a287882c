"""Removing whole channels, which several methods choose each in its own way."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch_pruning
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.training import TrainingTask

Importance = Callable[[Any], torch.Tensor | None]
# Torch-Pruning takes the whole part of n · (1 − ratio), and in floating point 1 − 0.9 is less than a tenth.
RATIO_EPSILON = 1e-9
INPUT_PRUNING_FUNCTIONS = (torch_pruning.function.prune_conv_in_channels, torch_pruning.function.prune_linear_in_channels)


def remove_channels(
    module: nn.Module,
    task: TrainingTask,
    importance: Importance,
    *,
    ratio: float,
    round_to: int,
    scope: Literal["global", "layer"] = "layer",
) -> None:
    """Remove the least important `ratio` of every layer's channels but the last's, and all that is coupled to them.

    With the global scope it is that share of all these channels together. What is left of a layer is a multiple of
    `round_to`; where that would be nothing, the layer stays as it is. `importance` maps a group of coupled layers to a
    value a channel, or to None where it has none and the group stays (Torch-Pruning's contract). Layers that a network
    lists in `fixed_layers()` keep their channels too. Raises ConfigError when a layer would lose all its channels to
    `ratio`, when nothing is removed, and when the network can't be pruned.
    """
    before = sum(p.numel() for p in module.parameters())
    example = torch.zeros(1, *task.input_shape)
    try:
        _remove(module, example, importance, ratio=ratio, round_to=round_to, scope=scope)
        with torch.no_grad():
            module.eval()(example)
    except ConfigError:
        raise
    except Exception as error:  # whatever Torch-Pruning or the network's own code stumbles over
        raise ConfigError(
            f"channels of this network can't be removed ({type(error).__name__}: {error}). A network must take every "
            "size from its layers (docs/extending.md); prune_weights serves any network."
        ) from error
    if sum(p.numel() for p in module.parameters()) == before:
        raise ConfigError(
            f"no channel was removed: ratio {ratio} rounded to multiples of {round_to} leaves every layer as it is. "
            "Use a larger ratio or a smaller round_to."
        )


def _remove(
    module: nn.Module, example: torch.Tensor, importance: Importance, *, ratio: float, round_to: int, scope: str
) -> None:
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1:]
    names = {layer: name for name, layer in module.named_modules()}
    values: dict[str, torch.Tensor] = {}

    def noted(group: Any) -> torch.Tensor | None:
        value = importance(group)
        if value is not None:
            values[names[group[0].dep.layer]] = value
        return value

    fixed: list[nn.Module] = getattr(module, "fixed_layers", list)()
    with warnings.catch_warnings():
        # It says how it will cut parameters outside of layers; those that networks have belong to fixed layers.
        warnings.filterwarnings("ignore", "Unwrapped parameters")
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example,
            importance=noted,
            global_pruning=scope == "global",
            pruning_ratio=ratio - RATIO_EPSILON,
            round_to=round_to,
            ignored_layers=[*last, *fixed],
        )
    groups = pruner.step(interactive=True)
    first = next(groups, None)  # by then all values are known, and nothing is removed yet
    _refuse_empty_layers(values, ratio - RATIO_EPSILON, scope)
    for group in itertools.chain([first] if first else [], groups):
        group.prune()


def _refuse_empty_layers(values: Mapping[str, torch.Tensor], ratio: float, scope: str) -> None:
    """Torch-Pruning leaves a layer whole that would lose every channel: a ratio that asks for it is a mistake."""
    if not values:
        return
    pool = torch.cat(list(values.values())).sort().values
    removed = len(pool) - int(len(pool) * (1 - ratio))
    for name, value in values.items():
        kept = int(len(value) * (1 - ratio)) if scope == "layer" else int((value > pool[removed - 1]).sum())
        if kept == 0:
            raise ConfigError(
                f"ratio {ratio + RATIO_EPSILON:g} would remove all {len(value)} channels of layer '{name}'. Use a smaller one."
            )


def sum_coupled_values(group: Any, value_of: Callable[[nn.Module, bool], torch.Tensor | None]) -> torch.Tensor:
    """An importance for `remove_channels`: the sum, for each channel of a group, over all layers coupled to it.

    `value_of` maps a layer to the values of the channels that it reads (True) or puts out (False), or to None.
    """
    total = torch.zeros(len(group[0].idxs))
    for dependency, channels, roots in ((item.dep, item.idxs, item.root_idxs) for item in group):
        values = value_of(dependency.layer, dependency.pruning_fn in INPUT_PRUNING_FUNCTIONS)
        if values is not None and None not in roots:
            total.index_add_(0, torch.tensor(roots), values[channels])
    return total
