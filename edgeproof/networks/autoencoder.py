"""An autoencoder of linear layers: it reproduces its input through a narrow code.

The baseline of DCASE 2020 task 2 (Koizumi et al., 2020), which MLPerf Tiny uses for anomaly detection (Banbury et al.,
2021): 640 inputs, four layers of 128, a code of 8, four layers of 128, 640 outputs, each layer but the last with batch
normalization and ReLU. A sound unlike those of the training is reproduced badly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "autoencoder"


class Options(BaseModel):
    """Options of the network, set in conf/networks/autoencoder.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hidden: tuple[PositiveInt, ...] = Field(description="units of each layer before the code; mirrored after it")
    code: PositiveInt = Field(description="units of the code")


def build(inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, hidden: Sequence[int], code: int) -> nn.Module:
    """Build the network with random weights. It maps one input (N, *shape) to one output of the task."""
    return Autoencoder(inputs[0].size, [*hidden, code, *reversed(hidden)], outputs[0].shape)


class Autoencoder(nn.Module):
    """Map inputs (N, …) to outputs (N, *shape)."""

    def __init__(self, features: int, widths: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(build_layer(*pair) for pair in itertools.pairwise([features, *widths])))
        self.output = nn.Linear(widths[-1], math.prod(shape))
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.output(self.layers(torch.flatten(x, 1)))
        return outputs if len(self.shape) == 1 else outputs.reshape(-1, *self.shape)


def build_layer(features_in: int, features_out: int) -> nn.Sequential:
    """Build a linear layer with batch normalization and ReLU."""
    return nn.Sequential(nn.Linear(features_in, features_out), nn.BatchNorm1d(features_out), nn.ReLU())
