"""A gated recurrent unit (GRU) that reads an image row by row and classifies the last state.

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014), in the form of torch.nn.GRU and cuDNN,
with the elementwise product ⊙:

    r = σ(W_ir x + b_ir + W_hr h + b_hr)
    z = σ(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
    h' = (1 − z) ⊙ n + z ⊙ h

Each gate is a linear layer of its own; torch.nn.GRU is not used. In this form every runtime can export the network,
quantizers find its weights, and methods treat them like those of any linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/gru.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hidden: PositiveInt = Field(description="units of the hidden state")


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, hidden: int) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    channels, _, width = inputs[0].shape
    return GRU(channels * width, hidden, outputs[0].size)


class GRU(nn.Module):
    """Map images (N, C, H, W), read as H steps of C·W features, to logits (N, classes)."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.inputs = Gates(features, hidden)
        self.states = Gates(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.transpose(1, 2).flatten(2)
        # Transform the inputs of all steps at once: one large product instead of many small ones.
        resets, updates, news = self.inputs(rows)
        state = torch.zeros_like(news[:, 0])
        for step in range(rows.shape[1]):
            reset, update, new = self.states(state)
            reset = torch.sigmoid(resets[:, step] + reset)
            update = torch.sigmoid(updates[:, step] + update)
            new = torch.tanh(news[:, step] + reset * new)
            state = new + update * (state - new)
        logits: torch.Tensor = self.classifier(state)
        return logits


class Gates(nn.Module):
    """One linear layer for each gate, with the initial weights of torch.nn.GRU: uniform within ±1/√hidden."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.reset = nn.Linear(features, hidden)
        self.update = nn.Linear(features, hidden)
        self.new = nn.Linear(features, hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.reset(x), self.update(x), self.new(x)
