"""Remove whole channels from a network, by an importance that each method defines.

Torch-Pruning's dependency graph (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023) finds the groups of
coupled layers: those whose channels can only be removed together, as on both sides of a shortcut.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch_pruning
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.training_task import Inputs, TrainingTask

Scope = Literal["global", "layer"]
# Maps a group of coupled layers to one value a channel, or to None for a group that must stay as it is.
Importance = Callable[[Any], torch.Tensor | None]
# Torch-Pruning keeps the whole part of n · (1 − ratio). In floating point 1 − 0.9 is less than a tenth, so that it
# would remove one channel too many; a slightly smaller ratio prevents that.
RATIO_EPSILON = 1e-9
LAYERS_WITH_CHANNELS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
INPUT_PRUNING_FUNCTIONS = (
    torch_pruning.function.prune_conv_in_channels,
    torch_pruning.function.prune_linear_in_channels,
)


def remove_channels(
    module: nn.Module,
    task: TrainingTask,
    importance: Importance,
    *,
    ratio: float,
    round_to: int,
    scope: Scope = "layer",
) -> None:
    """Remove the least important channels of a module in place, with everything that is coupled to them.

    `ratio` (0 to 1) is the least share of channels to remove: of each layer with scope "layer", of all layers together
    with scope "global". The number of channels that remain in a layer is rounded down to a multiple of `round_to`. A
    layer where this leaves nothing stays as it is. The layers that compute the network's outputs and its
    `fixed_layers()` keep their channels. Raises ConfigError when `ratio` would remove all channels of a layer, when
    nothing is removed, and when the network can't be pruned.
    """
    parameters_before = sum(p.numel() for p in module.parameters())
    examples = task.make_examples(1)
    try:
        _remove(module, examples, importance, ratio=ratio, round_to=round_to, scope=scope)
        with torch.no_grad():
            module.eval()(*examples)
    except ConfigError:
        raise
    except Exception as error:  # any error of Torch-Pruning or of the network's own code
        raise ConfigError(
            f"channels of this network can't be removed ({type(error).__name__}: {error}). A network must take every "
            "size from its layers (docs/extending.md). The method prune_weights works for any network."
        ) from error
    if sum(p.numel() for p in module.parameters()) == parameters_before:
        raise ConfigError(
            f"no channel was removed: ratio {ratio} rounded to multiples of {round_to} leaves every layer as it is. "
            "Use a larger ratio or a smaller round_to."
        )


def _remove(
    module: nn.Module, examples: Inputs, importance: Importance, *, ratio: float, round_to: int, scope: Scope
) -> None:
    names = {layer: name for name, layer in module.named_modules()}
    values: dict[str, torch.Tensor] = {}

    def record_importance(group: Any) -> torch.Tensor | None:
        value = importance(group)
        if value is not None:
            values[names[group[0].dep.layer]] = value
        return value

    fixed: list[nn.Module] = getattr(module, "fixed_layers", list)()
    with warnings.catch_warnings():
        # Torch-Pruning warns how it will cut parameters outside of layers. In our networks they are never cut, since
        # they belong to fixed layers.
        warnings.filterwarnings("ignore", "Unwrapped parameters")
        pruner = torch_pruning.pruner.BasePruner(
            module,
            examples,
            importance=record_importance,
            global_pruning=scope == "global",
            pruning_ratio=ratio - RATIO_EPSILON,
            round_to=round_to,
            ignored_layers=[*find_output_layers(module, examples), *fixed],
        )
    groups = pruner.step(interactive=True)
    # Asking for the first group computes the importance of all groups. Nothing is removed before prune().
    first = next(groups, None)
    _refuse_empty_layers(values, ratio - RATIO_EPSILON, scope)
    for group in itertools.chain([first] if first else [], groups):
        group.prune()


def find_output_layers(module: nn.Module, examples: Inputs) -> list[nn.Module]:
    """Return the layers whose channels are outputs of the network: from each output back to the first weights."""
    graph = torch_pruning.DependencyGraph().build_dependency(module, examples)
    waiting = [node for node in graph.module2node.values() if not node.outputs]
    visited = set(waiting)
    layers: list[nn.Module] = []
    while waiting:
        node = waiting.pop()
        if isinstance(node.module, LAYERS_WITH_CHANNELS):
            layers.append(node.module)
            continue
        new = [source for source in node.inputs if source not in visited]
        visited.update(new)
        waiting += new
    return layers


def _refuse_empty_layers(values: Mapping[str, torch.Tensor], ratio: float, scope: Scope) -> None:
    """Raise ConfigError if the ratio removes all channels of a layer. Torch-Pruning would keep that layer whole."""
    if not values:
        return
    pool = torch.cat(list(values.values())).sort().values
    removed = len(pool) - int(len(pool) * (1 - ratio))
    for name, value in values.items():
        remaining = int(len(value) * (1 - ratio)) if scope == "layer" else int((value > pool[removed - 1]).sum())
        if remaining == 0:
            raise ConfigError(
                f"ratio {ratio + RATIO_EPSILON:g} would remove all {len(value)} channels of layer '{name}'. Use a "
                "smaller ratio."
            )


def sum_coupled_values(group: Any, value_of: Callable[[nn.Module, bool], torch.Tensor | None]) -> torch.Tensor:
    """Return an importance for `remove_channels`: for each channel of a group, the sum over all coupled layers.

    `value_of(layer, reads)` returns one value for each channel that the layer reads (`reads` is True) or outputs
    (False), or None for a layer that does not count.
    """
    total = torch.zeros(len(group[0].idxs))
    for dependency, channels, roots in ((item.dep, item.idxs, item.root_idxs) for item in group):
        values = value_of(dependency.layer, dependency.pruning_fn in INPUT_PRUNING_FUNCTIONS)
        if values is not None and None not in roots:
            total.index_add_(0, torch.tensor(roots), values[channels])
    return total
