"""The weights of a module as two flat vectors: what is trained, and statistics such as those of batch normalization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Weights:
    """Parameters and statistics, each as one vector, in float32, and in float64 for a sum of several."""

    parameters: Array
    statistics: Array


def add_weights(total: Weights | None, weights: Weights) -> Weights:
    """Return `total` plus `weights` in float64. None is an empty sum."""
    parameters, statistics = (values.astype(np.float64) for values in (weights.parameters, weights.statistics))
    if total is None:
        return Weights(parameters, statistics)
    return Weights(total.parameters + parameters, total.statistics + statistics)


def average_weights(total: Weights, count: int) -> Weights:
    """Return the mean, in float32, of `count` weights whose sum is `total`."""
    return Weights(*((values / count).astype(np.float32) for values in (total.parameters, total.statistics)))


@dataclass(frozen=True)
class Layout:
    """The names and shapes of the tensors in the two vectors, in the order of the module.

    Statistics are the floating-point buffers of the state_dict. Integer buffers, such as counters of batches, are not
    exchanged. Frozen parameters are not either.
    """

    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    statistics: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def read(cls, module: nn.Module) -> Layout:
        """Return the layout of a module."""
        trained = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
        stored = module.state_dict()
        buffers = {
            name: tuple(buffer.shape)
            for name, buffer in module.named_buffers()
            if name in stored and buffer.is_floating_point()
        }
        return cls(tuple(trained.items()), tuple(buffers.items()))

    @property
    def sizes(self) -> list[int]:
        """The number of entries of each parameter tensor."""
        return [math.prod(shape) for _, shape in self.parameters]

    @property
    def parameter_count(self) -> int:
        """The length of the vector of parameters."""
        return sum(self.sizes)

    @property
    def statistic_count(self) -> int:
        """The length of the vector of statistics."""
        return sum(math.prod(shape) for _, shape in self.statistics)

    def extract(self, module: nn.Module) -> Weights:
        """Copy the weights of a module into vectors."""
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        vectors = (
            [tensors[name].detach().to(torch.float32).contiguous().reshape(-1) for name, _ in group]
            for group in (self.parameters, self.statistics)
        )
        return Weights(*(torch.cat(parts).numpy() if parts else np.zeros(0, np.float32) for parts in vectors))

    @torch.no_grad()
    def load(self, weights: Weights, module: nn.Module) -> None:
        """Copy vectors into the tensors of a module."""
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for group, vector in ((self.parameters, weights.parameters), (self.statistics, weights.statistics)):
            source, start = torch.from_numpy(vector), 0
            for name, shape in group:
                size = math.prod(shape)
                tensors[name].copy_(source[start : start + size].view(shape))
                start += size
