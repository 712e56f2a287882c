"""Inputs of tests of methods: a task with random images, a small network, a recipe, and formulas in plain numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from edgeproof.models import training
from edgeproof.models.training_task import TrainingTask
from edgeproof.networks import resnet8
from tests.support.training_tasks import make_ports, make_training_task

SHAPE = (1, 8, 8)
RECIPE = {"epochs": 1, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


def make_task(views: int = 1) -> TrainingTask:
    """Build a task of 32 random images in four classes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(32, *SHAPE, generator=generator)
    y = torch.arange(32) % 4
    return make_training_task(x, y, 4, validation_samples=8, views=views, view=lambda tensor, k: tensor.roll(k, -1))


def build_module() -> nn.Module:
    """Build a small resnet8 with the same random weights each time."""
    training.make_deterministic(0, 1)
    return resnet8.build(*make_ports(SHAPE, 4), widths=[8, 16], stem_stride=1)


def list_weights(module: nn.Module) -> list[torch.Tensor]:
    """Return the weight tensors of a module, without gradients. They share the memory of the module."""
    return [p.detach() for p in module.parameters() if p.dim() > 1]


def build_chain() -> nn.Module:
    """Build a network without shortcuts whose second convolution has by far the smallest weights."""
    training.make_deterministic(0, 1)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    module.extend([nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)])
    with torch.no_grad():
        module[3].weight *= 1e-6
    return module


# Random generators for hypothesis, and logits (5, 4) and labels (5,) drawn from them.
SEEDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
LOGITS = st.builds(lambda rng, scale: rng.standard_normal((5, 4)) * scale, SEEDS, st.floats(0, 6))
LABELS = st.builds(lambda rng: rng.integers(0, 4, 5), SEEDS)


def softmax(z: np.ndarray) -> np.ndarray:
    """Compute the softmax of logits (N, classes)."""
    odds = np.exp(z - z.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def hinton_by_hand(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> float:
    """Compute Hinton's loss in plain numpy."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = float((p * (np.log(p) - np.log(q))).sum(1).mean())
    hard = float(-np.log(softmax(student)[np.arange(len(y)), y]).mean())
    return hard_weight * hard + (1 - hard_weight) * temperature**2 * soft
