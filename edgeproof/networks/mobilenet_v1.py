"""MobileNet for small images: depthwise separable convolutions, after Howard et al. (2017), table 1.

Each block filters every channel separately (depthwise, 3×3) and then mixes the channels (pointwise, 1×1). Each
convolution is followed by batch normalization and ReLU. This takes about an eighth of the multiplications of a full 3×3
convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/mobilenet_v1.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each stage")
    blocks: PositiveInt = Field(description="number of separable convolutions in each stage")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the resolution")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], blocks: int, stem_stride: int
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    return MobileNetV1(inputs[0].shape[0], outputs[0].size, widths, blocks, stem_stride)


class MobileNetV1(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes). Every stage except the first halves the resolution."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int, stem_stride: int) -> None:
        super().__init__()
        self.stem = build_convolution(channels, widths[0], 3, stride=stem_stride)
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
            stride = 2 if stage > 0 and block == 0 else 1
            depthwise = build_convolution(channels_in, channels_in, 3, stride=stride, groups=channels_in)
            yield nn.Sequential(depthwise, build_convolution(channels_in, width, 1))
            channels_in = width


def build_convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution that keeps the resolution at stride 1, a batch normalization and a ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())
