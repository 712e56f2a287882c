"""LeNet-5 as compression papers use it: two 5×5 convolutions with max pooling, then two linear layers.

The widths 20, 50 and 500 are those of LeNet in Caffe (after LeCun et al., 1998), which Han et al., "Deep Compression"
(2016), prune and quantize. It has 431,080 parameters for 28×28 images without padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port

KERNEL = 5
MIN_SIDE_PX = {0: 16, 1: 10, 2: 4}  # smallest side of an image, by padding

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/cnn2.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, PositiveInt] = Field(description="channels of both convolutions")
    hidden: PositiveInt = Field(description="units of the hidden linear layer")
    padding: int = Field(ge=0, le=2, description="pixels on each side; 0 as in LeNet-5, 2 for images below 10×10")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], hidden: int, padding: int
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores.

    Raises ConfigError if the image is too small for both convolutions and poolings.
    """
    channels, height, width = inputs[0].shape
    sides = [compute_pooled_side(compute_pooled_side(side, padding), padding) for side in (height, width)]
    if min(sides) < 1:
        smallest = MIN_SIDE_PX[padding]
        raise ConfigError(
            f"cnn2 with padding {padding} needs images of at least {smallest}×{smallest} pixels, not "
            f"{height}×{width}. Use more padding (at most 2), or another network."
        )
    return LeNet(channels, widths, sides[0] * sides[1], hidden, outputs[0].size, padding)


def compute_pooled_side(side: int, padding: int) -> int:
    """Return the side of an image, in pixels, after one convolution and one 2×2 pooling."""
    return max(side + 2 * padding - KERNEL + 1, 0) // 2


class LeNet(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes)."""

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
