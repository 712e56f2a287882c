"""Train a network from random weights with the true labels.

This makes the teacher, and the control with which a distilled student is compared.
"""

from __future__ import annotations

from torch import nn

from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """Options of the method, set in conf/methods/train.yaml."""


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Minimize the cross-entropy of `model` on the training split of the task."""
    return fit(model, task, Options.model_validate(options))
