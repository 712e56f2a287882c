"""Depthwise separable convolutions for small images, after MobileNet (Howard et al., 2017), table 1.

Every block filters each channel by itself (depthwise, 3×3) and then mixes channels (pointwise, 1×1), each followed by
batch normalization and ReLU: about an eighth of the multiplications of a full 3×3 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn


class Options(BaseModel):
    """What conf/networks/mobilenet_v1.yaml may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each stage")
    blocks: PositiveInt = Field(description="separable convolutions in each stage")
    stem_stride: int = Field(ge=1, le=4, description="2 halves the resolution before the first stage")


def build(
    input_shape: Sequence[int], classes: int, *, widths: Sequence[int], blocks: int, stem_stride: int
) -> nn.Module:
    """Build the untrained network for inputs of `input_shape` (channels, height, width)."""
    return MobileNetV1(input_shape[0], classes, widths, blocks, stem_stride)


class MobileNetV1(nn.Module):
    """Images (N, C, H, W) to logits (N, classes). Every stage but the first halves the resolution."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int, stem_stride: int) -> None:
        super().__init__()
        self.stem = convolution(channels, widths[0], 3, stride=stem_stride)
        self.blocks = nn.Sequential(*build_blocks(widths, blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.stem(images))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(features), 1))
        return logits


def build_blocks(widths: Sequence[int], blocks: int) -> Iterator[nn.Module]:
    """All stages' blocks in order."""
    before = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            depthwise = convolution(before, before, 3, stride=stride, groups=before)
            yield nn.Sequential(depthwise, convolution(before, width, 1))
            before = width


def convolution(before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, batch normalization and ReLU."""
    conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())
