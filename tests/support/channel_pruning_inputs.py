"""Inputs of tests of channel pruning: options and a network without shortcuts."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.method_inputs import RECIPE

STILL = RECIPE | {"epochs": 0}
HALF = {"ratio": 0.5, "round_to": 1}
SLIMMING = HALF | {"scope": "layer", "penalty": 0.01, "penalty_epochs": 0}
TAYLOR = HALF | {"samples": 32}


def build_plain_network(first: int, second: int, seed: int = 0) -> nn.Module:
    """Build two convolutions with normalizations and a classifier, without shortcuts."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, first, 3),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * second, 4),
    )
