"""MobileNetV2 for small images: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), tables 1 and 2.

A block widens its input by the factor `expansion` (1×1, ReLU6), filters every channel separately (depthwise 3×3, ReLU6)
and narrows it again (1×1, no activation). If the shape stays the same, the input is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/mobilenet_v2.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each stage's bottlenecks")
    blocks: PositiveInt = Field(description="number of inverted residuals in each stage")
    expansion: PositiveInt = Field(description="factor by which a block widens its input; with 1 it does not widen")
    head: PositiveInt = Field(description="channels of the last 1×1 convolution, which the classifier reads")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the resolution")


def build(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    *,
    widths: Sequence[int],
    blocks: int,
    expansion: int,
    head: int,
    stem_stride: int,
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    stem = build_convolution(inputs[0].shape[0], widths[0], 3, stride=stem_stride)
    stages = nn.Sequential(*build_blocks(widths, blocks, expansion))
    return MobileNetV2(stem, stages, build_convolution(widths[-1], head, 1), nn.Linear(head, outputs[0].size))


class MobileNetV2(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes). Every stage except the first halves the resolution."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, head: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.head(self.blocks(self.stem(images)))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(features), 1))
        return logits


def build_blocks(widths: Sequence[int], blocks: int, expansion: int) -> Iterator[nn.Module]:
    """Yield the blocks of all stages in order."""
    channels_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            yield InvertedResidual(channels_in, width, expansion, stride=2 if stage > 0 and block == 0 else 1)
            channels_in = width


class InvertedResidual(nn.Module):
    """Widen, filter each channel and narrow. The input is added if the shape stays the same."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, *, stride: int) -> None:
        super().__init__()
        inside = channels_in * expansion
        widen = [build_convolution(channels_in, inside, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            build_convolution(inside, inside, 3, stride=stride, groups=inside),
            nn.Conv2d(inside, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.residual else y


def build_convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution that keeps the resolution at stride 1, a batch normalization and a ReLU6."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU6())
