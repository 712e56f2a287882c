"""A convolutional network over time, for signals of several sensors.

Convolutions along the time axis with batch normalization and ReLU, a maximum over every two steps after each, and the
mean over time before the classifier: the convolutional part of DeepConvLSTM (Ordóñez, Roggen: "Deep Convolutional and
LSTM Recurrent Neural Networks for Multimodal Wearable Activity Recognition", 2016) with the global mean of Wang, Yan,
Oates: "Time Series Classification from Scratch with Deep Neural Networks" (2017).

The layers are two-dimensional with kernels of k×1, so that every method, quantizer and runtime knows them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "sequence_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/cnn_1d.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each convolution")
    kernel: PositiveInt = Field(description="steps that a convolution reads")
    dropout: float = Field(ge=0, lt=1, description="share of features before the classifier that training drops")


def build(
    inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, widths: Sequence[int], kernel: int, dropout: float
) -> nn.Module:
    """Build the network with random weights for one input of shape (channels, time) or (channels, time, width)."""
    return CNN1D(inputs[0].shape[0], widths, kernel, dropout, outputs[0].size)


class CNN1D(nn.Module):
    """Map signals (N, C, T) or (N, C, T, W) to logits (N, classes). Each step along W is read on its own."""

    def __init__(self, channels: int, widths: Sequence[int], kernel: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(build_convolution(one, two, kernel) for one, two in zip((channels, *widths), widths, strict=False))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        x = signals if signals.dim() == 4 else signals.unsqueeze(3)
        features = torch.flatten(self.pool(self.convolutions(x)), 1)
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits


def build_convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Build a convolution along time with batch normalization, ReLU, and a maximum over two steps.

    An odd last step is its own maximum, so a short signal never becomes empty.
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, (kernel, 1), padding=(kernel // 2, 0), bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d((2, 1), ceil_mode=True),
    )
