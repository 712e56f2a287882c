"""Mixup: train on weighted averages of two samples and of their labels.

Zhang et al.: "mixup: Beyond Empirical Risk Minimization" (2018), section 2. A teacher's outputs are computed for the
mixed samples, which gives a student more to imitate than the training split has: Beyer et al., "Knowledge distillation:
A good teacher is patient and consistent" (2022), section 3.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.models.training_task import Inputs, TrainingTask

# The option `mixup` of a method.
MixupAlpha = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="0 is off; otherwise the weight of a pair of samples is drawn from Beta(mixup, mixup), 1: uniform",
    ),
]


def add_mixup(task: TrainingTask, alpha: float) -> TrainingTask:
    """Return the task with mixup after its own augmentation, or the same task if `alpha` is 0.

    The targets of its batches are probabilities (N, classes). Raises ConfigError for a task that is no classification,
    or whose inputs are whole numbers, as tokens are.
    """
    if alpha == 0:
        return task
    if not task.is_classification:
        raise ConfigError(
            f"mixup averages labels, and task '{task.name}' is no classification: its metric is {task.metric.label}. "
            "Set mixup: 0."
        )
    if any(not tensor.is_floating_point() for tensor in task.train.inputs):
        raise ConfigError(f"mixup averages inputs, and those of task '{task.name}' are whole numbers. Set mixup: 0.")
    classes = task.outputs[0].shape[-1]
    augment = task.augment

    def mix(inputs: Inputs, targets: torch.Tensor, generator: torch.Generator) -> tuple[Inputs, torch.Tensor]:
        if augment is not None:
            inputs, targets = augment(inputs, targets, generator)
        weights = _draw_weights(len(targets), alpha, generator)
        labels = targets if targets.is_floating_point() else functional.one_hot(targets, classes).float()
        partners = torch.randperm(len(targets), generator=generator)
        return (
            tuple(_average(tensor, partners, weights) for tensor in inputs),
            _average(labels, partners, weights),
        )

    return dataclasses.replace(task, augment=mix)


def _draw_weights(count: int, alpha: float, generator: torch.Generator) -> torch.Tensor:
    """Return weights (N,) of the distribution Beta(alpha, alpha), which torch cannot draw from a generator."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count).astype(np.float32))


def _average(values: torch.Tensor, partners: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return w · values + (1 − w) · values[partners], with one weight w for each row."""
    shares = weights.reshape(-1, *[1] * (values.dim() - 1))
    return shares * values + (1 - shares) * values[partners]
