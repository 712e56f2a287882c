"""Read and compare the outputs of layers inside a network, for methods that distill features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgeproof.core.errors import ConfigError, suggest_nearest


class UnknownLayerError(ConfigError):
    """A network has no layer of this name."""

    def __init__(self, layer: str, layers: Iterable[str]) -> None:
        self.layer, self.layers = layer, list(layers)
        super().__init__(
            f"the network has no layer '{layer}'.{suggest_nearest(layer, self.layers)} "
            f"It has: {', '.join(self.layers)}."
        )


@contextmanager
def record_outputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Record the outputs of layers: yield a dictionary that holds, by dotted name, the output of the last forward pass.

    Raises UnknownLayerError for a name that the module does not have. The forward pass raises ConfigError for a layer
    whose output is not one tensor.
    """
    layers = {name: layer for name, layer in module.named_modules() if name}
    outputs: dict[str, torch.Tensor] = {}

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                raise ConfigError(
                    f"the output of layer '{name}' is a {type(output).__name__}, not one tensor. Name a layer after "
                    f"it. The network has: {', '.join(layers)}."
                )
            outputs[name] = output

        return record

    for name in names:
        if name not in layers:
            raise UnknownLayerError(name, layers)
    handles = [layers[name].register_forward_hook(make_hook(name)) for name in dict.fromkeys(names)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def pool_to_same_resolution(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Average-pool two outputs (N, C, H, W) to the smaller height and the smaller width. (N, C) means (N, C, 1, 1).

    Raises ConfigError for an output with another number of dimensions.
    """
    maps = [x[:, :, None, None] if x.dim() == 2 else x for x in (first, second)]
    for x in maps:
        if x.dim() != 4:
            raise ConfigError(
                f"two layers can be compared if their outputs are (N, C) or (N, C, H, W), not {tuple(x.shape)}. Name "
                "other layers."
            )
    size = min(x.shape[2] for x in maps), min(x.shape[3] for x in maps)
    pooled = [functional.adaptive_avg_pool2d(x, size) for x in maps]
    return pooled[0], pooled[1]


class StudentWithAdapter(nn.Module):
    """A student with an adapter beside it, so that both are trained. The output is the student's."""

    def __init__(self, student: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.student, self.adapter = student, adapter

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.student(*inputs)
