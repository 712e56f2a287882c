"""ResNet-18 for small images: a 3×3 stem, four stages of two basic blocks, average pooling, a linear layer.

He et al., "Deep Residual Learning for Image Recognition" (2016), table 1, with the stem of its section 4.2: one 3×3
convolution of stride 1 and no pooling, because the images are small. The first block of every stage except the first
halves the resolution, and its shortcut is a projection (option B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/resnet18.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each stage")
    blocks: PositiveInt = Field(description="basic blocks in each stage; 2 in four stages give 18 weighted layers")


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], blocks: int) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    return ResNet18(inputs[0].shape[0], outputs[0].size, widths, blocks)


class ResNet18(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes)."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*build_blocks(widths, blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.stem(images))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(features), 1))
        return logits


def build_blocks(widths: Sequence[int], blocks: int) -> Iterator[nn.Module]:
    """Yield the blocks of all stages in order."""
    channels_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            yield Block(channels_in, width, stride=2 if stage > 0 and block == 0 else 1)
            channels_in = width


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
