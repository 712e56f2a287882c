"""A residual CNN for small images: a strided stem, one basic block for each width, average pooling, a linear layer.

The basic block is that of He et al., "Deep Residual Learning for Image Recognition" (2016), figure 2. The shortcut is a
projection where the shape changes (option B of the paper). With three blocks, the network has the eight weighted layers
of the image classification model of MLPerf Tiny.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/resnet8.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each block")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the resolution")


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], stem_stride: int) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    return ResNet(inputs[0].shape[0], outputs[0].size, widths, stem_stride)


class ResNet(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes)."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], stem_stride: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, stride=stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        pairs = itertools.pairwise([widths[0], *widths])
        self.blocks = nn.Sequential(*(Block(i, o, stride=1 if n == 0 else 2) for n, (i, o) in enumerate(pairs)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.stem(images))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(features), 1))
        return logits


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, which is a projection if the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out: torch.Tensor = self.relu(y + self.shortcut(x))
        return out
