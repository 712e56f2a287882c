"""Small federations for tests: a linear classifier, random samples, and clients that share them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.federated import partitions
from edgeproof.federated.rounds import Federation
from edgeproof.federated.settings import Compression, LocalTraining, ServerStep, Settings
from edgeproof.models.training_task import TrainingTask
from tests.support.training_tasks import make_training_task

FEATURES, CLASSES, SAMPLES = 6, 3, 48


def make_task(**changes: Any) -> TrainingTask:
    """Return a classification of random features, whose labels a random linear map gives."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, FEATURES, generator=generator)
    y = (x @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(1)
    return make_training_task(x, y, CLASSES, **changes)


def build_module(*, with_statistics: bool = False) -> nn.Module:
    """Build a small perceptron with the same random weights each time, on request with batch normalization."""
    torch.manual_seed(3)
    normalization = [nn.BatchNorm1d(5)] if with_statistics else []
    return nn.Sequential(nn.Linear(FEATURES, 5), *normalization, nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, CLASSES))


def make_settings(**changes: Any) -> Settings:
    """Return settings of three rounds, in which each client trains two epochs."""
    local = LocalTraining(epochs=2, batch_size=4, learning_rate=0.1, momentum=0.5)
    return Settings(**{"rounds": 3, "local": local, **changes})


def make_federation(clients: int = 4, *, with_statistics: bool = False, **changes: Any) -> Federation:
    """Return a federation whose clients have equal shares."""
    shares = partitions.split_iid(SAMPLES, clients, np.random.default_rng(0))
    return Federation(build_module(with_statistics=with_statistics), make_task(), shares, make_settings(**changes))


def list_bits(module: nn.Module) -> list[bytes]:
    """Return the bytes of every tensor of a module."""
    return [tensor.numpy().tobytes() for tensor in module.state_dict().values()]


def make_top_k_federation() -> Federation:
    """Return a federation with batch normalization, missing clients, and updates by top-k."""
    changes = {
        "dropped": 0.2,
        "late": 0.1,
        "compression": Compression("top_k", 0.3),
        "step": ServerStep("fedavgm", 1.0, 0.5),
    }
    return make_federation(with_statistics=True, **changes)
