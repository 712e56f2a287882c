"""Fixtures of the contract tests: a small task, a module like a trained one, calibration samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeproof.models.training import make_deterministic
from edgeproof.models.training_task import TrainingTask
from edgeproof.networks import resnet8
from tests.support.training_tasks import make_ports, make_training_task

SHAPE = (1, 8, 8)
CLASSES = 10


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((32, *SHAPE)).astype(np.float32)


@pytest.fixture
def module() -> torch.nn.Module:
    return build_module()


def build_module() -> torch.nn.Module:
    """Return a small network, always the same, with batch normalization statistics unlike an untrained one's."""
    make_deterministic(0, 1)
    network = resnet8.build(*make_ports(SHAPE, CLASSES), widths=(8, 16), stem_stride=1)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # exporting folds these statistics into weights
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture
def task(samples: np.ndarray) -> TrainingTask:
    x = torch.from_numpy(samples)
    labels = torch.arange(len(x)) % CLASSES
    return make_training_task(x, labels, CLASSES, name="contract")
