"""Distill the logits of a teacher into a student.

The student is trained on the true labels and on the teacher's softened logits: Hinton, Vinyals, Dean: "Distilling the
Knowledge in a Neural Network" (2015). The formula is at losses.hinton_loss.
"""

from __future__ import annotations

from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.losses import make_hinton_loss
from edgeproof.models.training import Recipe, TrainingTask, compute_teacher_logits, fit


class Options(Recipe):
    """Options of the method, set in conf/methods/distill.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the teacher's softened logits."""
    chosen = Options.model_validate(options)
    teacher_logits = compute_teacher_logits(teacher, task)
    loss = make_hinton_loss(teacher_logits, temperature=chosen.temperature, hard_weight=chosen.hard_weight)
    return fit(model, task, chosen, loss=loss)
