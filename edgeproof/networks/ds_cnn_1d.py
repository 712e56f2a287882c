"""DS-CNN over time: one convolution along time, then depthwise separable ones of the same width.

The values of one time step are channels, as in TC-ResNet (Choi et al.: "Temporal Convolution for Real-time Keyword
Spotting on Mobile Devices", 2019). A depthwise convolution along time and a pointwise one are a sub-block of
MatchboxNet (Majumdar, Ginsburg: "MatchboxNet: 1D Time-Channel Separable Convolutional Neural Network Architecture for
Speech Commands Recognition", 2020), here with batch normalization after both, and without residual connections.

The layers are two-dimensional with kernels of k×1, so that every method, quantizer and runtime knows them.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "spectrogram_classifier"


def check_odd(kernel: int) -> int:
    """Return an odd kernel. Raises ValueError for an even one, which has no middle to be centred on a step."""
    if kernel % 2 == 0:
        raise ValueError(f"{kernel} is even; use an odd number of steps, such as {kernel + 1}")
    return kernel


Kernel = Annotated[PositiveInt, AfterValidator(check_odd)]


class Options(BaseModel):
    """Options of the network, set in conf/networks/ds_cnn_1d.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: PositiveInt = Field(description="channels of every layer")
    blocks: PositiveInt = Field(description="number of depthwise separable convolutions")
    kernel: Kernel = Field(description="steps that a depthwise convolution reads, an odd number")
    stem_kernel: Kernel = Field(description="steps that the first convolution reads, an odd number")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the number of steps")
    dropout: float = Field(ge=0, lt=1, description="share of features before the classifier that training drops")


def build(
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    *,
    width: int,
    blocks: int,
    kernel: int,
    stem_kernel: int,
    stem_stride: int,
    dropout: float,
) -> nn.Module:
    """Build the network with random weights for one input of shape (channels, time) or (channels, time, features)."""
    channels, _, *features = inputs[0].shape
    stem = build_convolution(channels * math.prod(features), width, stem_kernel, stride=stem_stride)
    separable = (build_block(width, kernel) for _ in range(blocks))
    return DSCNN1D(stem, nn.Sequential(*separable), dropout, nn.Linear(width, outputs[0].size))


class DSCNN1D(nn.Module):
    """Map signals (N, C, T) or features (N, C, T, F) to logits (N, classes)."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, dropout: float, classifier: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        features = torch.flatten(self.pool(self.blocks(self.stem(move_features(signals)))), 1)
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits


def move_features(signals: torch.Tensor) -> torch.Tensor:
    """Turn signals (N, C, T) or features (N, C, T, F) into (N, C·F, T, 1)."""
    if signals.dim() == 3:
        return signals.unsqueeze(3)
    if signals.shape[3] == 1:
        return signals
    if signals.shape[1] == 1:
        # This equals the last line for one channel. Converters see that it moves no data where channels come last.
        return signals.permute(0, 3, 2, 1)
    return signals.transpose(2, 3).flatten(1, 2).unsqueeze(3)


def build_block(width: int, kernel: int) -> nn.Sequential:
    """Build a depthwise convolution along time with batch normalization, and a pointwise one with that and ReLU."""
    depthwise = nn.Conv2d(width, width, (kernel, 1), padding=(kernel // 2, 0), groups=width, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(width), *build_convolution(width, width, 1))


def build_convolution(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Build a convolution along time with batch normalization and ReLU. At stride 1 it keeps the number of steps."""
    conv = nn.Conv2d(channels_in, channels_out, (kernel, 1), (stride, 1), (kernel // 2, 0), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())
