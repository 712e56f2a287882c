"""Two 5×5 convolutions with max pooling, then two linear layers: LeNet-5 as compression papers use it.

Its widths 20, 50 and 500 are those of Caffe's LeNet (after LeCun et al., 1998), which Han et al., "Deep Compression"
(2016), prune and quantize: 431,080 parameters on 28×28 images without padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError

KERNEL = 5
MIN_SIDE_PX = {0: 16, 1: 10, 2: 4}  # of an image, by padding


class Options(BaseModel):
    """What conf/networks/cnn2.yaml may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, PositiveInt] = Field(description="channels of both convolutions")
    hidden: PositiveInt = Field(description="units of the hidden linear layer")
    padding: int = Field(ge=0, le=2, description="0 as in LeNet-5; 2 serves images under 16×16 too")


def build(input_shape: Sequence[int], classes: int, *, widths: Sequence[int], hidden: int, padding: int) -> nn.Module:
    """Build the untrained network for inputs of `input_shape` (channels, height, width).

    Raises ConfigError when both convolutions and poolings leave nothing of the image.
    """
    channels, height, width = input_shape
    left = [side_after_pooling(side_after_pooling(side, padding), padding) for side in (height, width)]
    if min(left) < 1:
        raise ConfigError(
            f"cnn2 with padding {padding} leaves nothing of an image of {height}×{width}: it needs at least "
            f"{MIN_SIDE_PX[padding]}×{MIN_SIDE_PX[padding]}. More padding (at most 2) serves smaller images."
        )
    return LeNet(channels, widths, left[0] * left[1], hidden, classes, padding)


def side_after_pooling(side: int, padding: int) -> int:
    """What one convolution and one 2×2 pooling leave of an image's side."""
    return max(side + 2 * padding - KERNEL + 1, 0) // 2


class LeNet(nn.Module):
    """Images (N, C, H, W) to logits (N, classes)."""

    def __init__(
        self, channels: int, widths: Sequence[int], positions: int, hidden: int, classes: int, padding: int
    ) -> None:
        super().__init__()
        first, second = widths
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, KERNEL, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, KERNEL, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(nn.Linear(second * positions, hidden), nn.ReLU())
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.hidden(torch.flatten(self.features(images), 1)))
        return logits
