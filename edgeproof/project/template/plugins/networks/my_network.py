"""Two convolutions with batch normalization and pooling, then a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/my_network.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, PositiveInt]


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int]) -> nn.Module:
    """Build the network with random weights for one picture (channels, height, width)."""
    first, second = widths
    return nn.Sequential(
        nn.Conv2d(inputs[0].shape[0], first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(second, outputs[0].size),
    )
