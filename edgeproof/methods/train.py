"""Train a network from random weights with the true labels.

This makes the teacher, and the control with which a distilled student is compared.
"""

from __future__ import annotations

from torch import nn

from edgeproof.models.mixup import MixupAlpha, add_mixup
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/train.yaml."""

    mixup: MixupAlpha = 0.0


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Minimize the task's loss of `model` on its training split: the cross-entropy for a classification."""
    chosen = Options.model_validate(options)
    return fit(model, add_mixup(task, chosen.mixup), chosen)
