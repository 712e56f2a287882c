"""Distill a teacher's logits into a student.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015), with the loss of losses.hinton_loss.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.losses import hinton_loss
from edgeproof.training import Batch, Recipe, TrainingTask, fit, logits_of


class Options(Recipe):
    """What conf/methods/distill.yaml may set."""

    temperature: PositiveFloat
    hard_weight: float = Field(ge=0, le=1, description="weight of the cross-entropy with the true labels")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the teacher's softened logits."""
    chosen = Options.model_validate(options)
    # The views are few and fixed, so the teacher's answers are computed once instead of in every epoch.
    answers = torch.stack([logits_of(teacher, task.view(task.train_x, k)) for k in range(task.views)])

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return hinton_loss(
            logits,
            answers[batch.views, batch.samples],
            batch.labels,
            temperature=chosen.temperature,
            hard_weight=chosen.hard_weight,
        )

    return fit(model, task, chosen, loss=loss)
