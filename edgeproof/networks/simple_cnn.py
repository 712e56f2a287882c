"""The CNN of many textbooks: two 3×3 convolutions, each with ReLU and 2×2 max pooling, then two linear layers.

With the widths 32 and 64 and 128 hidden units, it has 545,098 parameters for images of 3×32×32 and ten classes. Nearly
all of them are in the first linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port

KIND = "image_classifier"
MIN_SIDE_PX = 4  # both poolings halve it


class Options(BaseModel):
    """Options of the network, set in conf/networks/simple_cnn.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, PositiveInt] = Field(description="channels of both convolutions")
    hidden: PositiveInt = Field(description="units of the hidden linear layer")
    dropout: float = Field(ge=0, lt=1, description="share of the hidden units that training drops")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], hidden: int, dropout: float
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores.

    Raises ConfigError if the image is too small for both poolings.
    """
    channels, height, width = inputs[0].shape
    if min(height, width) < MIN_SIDE_PX:
        raise ConfigError(
            f"simple_cnn needs images of at least {MIN_SIDE_PX}×{MIN_SIDE_PX} pixels, not {height}×{width}. Use "
            "another network, such as mlp."
        )
    positions = (height // 4) * (width // 4)
    return SimpleCNN(channels, widths, positions, hidden, dropout, outputs[0].size)


class SimpleCNN(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes)."""

    def __init__(
        self, channels: int, widths: Sequence[int], positions: int, hidden: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        first, second = widths
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(nn.Linear(second * positions, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.hidden(torch.flatten(self.features(images), 1)))
        return logits
