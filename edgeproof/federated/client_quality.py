"""The quality of the global model at each client: the mean, and the mean of the worst tenth of the clients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgeproof.core.errors import DataError
from edgeproof.federated.partitions import Shares
from edgeproof.models.training_task import TrainingTask, measure_quality


@dataclass(frozen=True)
class ClientQuality:
    """Qualities over clients, in the natural unit of the metric."""

    clients: int
    mean: float
    worst_tenth: float


def hold_back(shares: Shares, share: float, generator: np.random.Generator) -> tuple[Shares, Shares]:
    """Split each client's samples at random into those to train on and those to measure with.

    A client with two samples or more keeps at least one of each if `share` is not 0.
    """
    trained, measured = [], []
    for rows in shares:
        count = min(len(rows) - 1, max(1, round(share * len(rows)))) if share > 0 else 0
        order = generator.permutation(rows)
        measured.append(np.sort(order[:count]))
        trained.append(np.sort(order[count:]))
    return trained, measured


def measure_clients(module: nn.Module, task: TrainingTask, held_back: Shares) -> ClientQuality | None:
    """Measure the module with each client's own samples. Return None if no client has samples for it.

    A client whose samples do not define the metric, such as an AUC of one class, is left out.
    """
    qualities = []
    for rows in held_back:
        if not len(rows):
            continue
        try:
            quality = measure_quality(module, task, task.train.select(torch.from_numpy(rows)))
        except DataError:
            continue
        if math.isfinite(quality):
            qualities.append(quality)
    if not qualities:
        return None
    return ClientQuality(len(qualities), float(np.mean(qualities)), average_worst_tenth(qualities, task.metric.better))


def average_worst_tenth(qualities: Sequence[float], better: str) -> float:
    """Return the mean of the worst tenth of the qualities, of at least one."""
    ordered = sorted(qualities, reverse=better == "less")
    return float(np.mean(ordered[: math.ceil(len(ordered) / 10)]))
