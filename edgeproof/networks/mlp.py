"""A multilayer perceptron: linear layers with ReLU between them, on the flattened input.

With hidden layers of 300 and 100 units it is LeNet-300-100 of LeCun et al., "Gradient-Based Learning Applied to
Document Recognition" (1998), which Han et al. prune in "Deep Compression" (2016). Without hidden layers it is a linear
classifier.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/mlp.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hidden: tuple[PositiveInt, ...] = Field(
        description="units of each hidden layer; an empty list gives a linear classifier"
    )


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, hidden: Sequence[int]) -> nn.Module:
    """Build the network with random weights. It maps one input of any shape to one output of class scores."""
    layers: list[nn.Module] = [nn.Flatten()]
    widths = [inputs[0].size, *hidden]
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs[0].size))
