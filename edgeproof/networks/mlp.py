"""A multilayer perceptron: linear layers with ReLU between them, on the flattened input.

With hidden layers of 300 and 100 units it is LeNet-300-100 of LeCun et al., "Gradient-Based Learning Applied to
Document Recognition" (1998), which Han et al. prune in "Deep Compression" (2016). Without hidden layers it is a linear
classifier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn


class Options(BaseModel):
    """Options of the network, set in conf/networks/mlp.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hidden: tuple[PositiveInt, ...] = Field(
        description="units of each hidden layer; an empty list gives a linear classifier"
    )


def build(input_shape: Sequence[int], classes: int, *, hidden: Sequence[int]) -> nn.Module:
    """Build the network with random weights. It maps inputs (N, *input_shape) to logits (N, classes)."""
    layers: list[nn.Module] = [nn.Flatten()]
    widths = [math.prod(input_shape), *hidden]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
