"""A perceptron: the input flattened, linear layers with ReLU between them.

With one hidden layer of 300 and one of 100 it is LeNet-300-100 of LeCun et al., "Gradient-Based Learning Applied to
Document Recognition" (1998), as pruned in Han et al., "Deep Compression" (2016); with none it is a linear classifier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn


class Options(BaseModel):
    """What conf/networks/mlp.yaml may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hidden: tuple[PositiveInt, ...] = Field(description="units of each hidden layer; none makes a linear classifier")


def build(input_shape: Sequence[int], classes: int, *, hidden: Sequence[int]) -> nn.Module:
    """Build the untrained network from inputs (N, *input_shape) to logits (N, classes)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise([math.prod(input_shape), *hidden]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([math.prod(input_shape), *hidden][-1], classes))
