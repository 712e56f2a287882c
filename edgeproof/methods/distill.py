"""Distill a teacher's logits into a student.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015), with the loss of losses.hinton_loss.
"""

from __future__ import annotations

from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.losses import make_hinton_loss
from edgeproof.models.training import Recipe, TrainingTask, compute_teacher_logits, fit


class Options(Recipe):
    """What conf/methods/distill.yaml may set."""

    temperature: PositiveFloat
    hard_weight: float = Field(ge=0, le=1, description="weight of the cross-entropy with the true labels")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the teacher's softened logits."""
    chosen = Options.model_validate(options)
    answers = compute_teacher_logits(teacher, task)
    loss = make_hinton_loss(answers, temperature=chosen.temperature, hard_weight=chosen.hard_weight)
    return fit(model, task, chosen, loss=loss)
