"""What every contract test starts from: a small task, a trained-looking module, calibration samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeproof.models.training import TrainingTask, deterministic
from edgeproof.networks import resnet8

SHAPE = (1, 8, 8)
CLASSES = 10


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((32, *SHAPE)).astype(np.float32)


@pytest.fixture
def module() -> torch.nn.Module:
    return trained_looking()


def trained_looking() -> torch.nn.Module:
    """A small network that is the same each time, its normalization statistics unlike those of an untrained one."""
    deterministic(0, 1)
    built = resnet8.build(SHAPE, CLASSES, widths=(8, 16), stem_stride=1)
    for layer in built.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # statistics that folding must get right
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return built.eval()


@pytest.fixture
def task(samples: np.ndarray) -> TrainingTask:
    x = torch.from_numpy(samples)
    labels = torch.arange(len(x)) % CLASSES
    return TrainingTask("contract", SHAPE, CLASSES, x, labels, x, labels, 1, lambda batch, k: batch, 0, 1)
