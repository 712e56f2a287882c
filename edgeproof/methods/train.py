"""Train a network from its random initialization, with the true labels alone.

The teacher is made this way, and so is the control that a distilled student is compared with.
"""

from __future__ import annotations

from torch import nn

from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/train.yaml may set."""


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Minimize the cross-entropy of `model` (inputs to logits) on the task's training split."""
    return fit(model, task, Options.model_validate(options))
