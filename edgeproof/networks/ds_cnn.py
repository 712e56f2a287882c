"""DS-CNN: one convolution, then depthwise separable ones of the same width, for small pictures and spectrograms.

Zhang, Suda, Lai, Chandra: "Hello Edge: Keyword Spotting on Microcontrollers" (2017), figure 1. With 64 channels, four
blocks and a first kernel of 10×4 it is the network of MLPerf Tiny for keyword spotting (Banbury et al., 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/ds_cnn.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: PositiveInt = Field(description="channels of every layer")
    blocks: PositiveInt = Field(description="number of depthwise separable convolutions")
    stem_kernel: tuple[PositiveInt, PositiveInt] = Field(description="height and width of the first kernel")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution, in both directions")
    dropout: float = Field(ge=0, lt=1, description="share of features before the classifier that training drops")


def build(
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    *,
    width: int,
    blocks: int,
    stem_kernel: Sequence[int],
    stem_stride: int,
    dropout: float,
) -> nn.Module:
    """Build the network with random weights for one input of shape (channels, height, width)."""
    channels, rows, columns = inputs[0].shape
    kernel = (stem_kernel[0], stem_kernel[1])
    padding = (compute_padding(rows, kernel[0], stem_stride), compute_padding(columns, kernel[1], stem_stride))
    stem = nn.Conv2d(channels, width, kernel, stem_stride, padding, bias=False)
    return DSCNN(stem, blocks, dropout, outputs[0].size)


def compute_padding(size: int, kernel: int, stride: int) -> int:
    """Return the padding of both sides for an output of ⌈size / stride⌉: that of TensorFlow's SAME, rounded up."""
    outputs = -(-size // stride)
    return -(-max((outputs - 1) * stride + kernel - size, 0) // 2)


class DSCNN(nn.Module):
    """Map inputs (N, C, H, W) to logits (N, classes)."""

    def __init__(self, stem: nn.Conv2d, blocks: int, dropout: float, classes: int) -> None:
        super().__init__()
        width = stem.out_channels
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(build_block(width) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.flatten(self.pool(self.blocks(self.stem(x))), 1)
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits


def build_block(width: int) -> nn.Sequential:
    """Build a depthwise 3×3 and a pointwise 1×1 convolution, each with batch normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
