"""Distill the logits of a teacher into a student.

The student is trained on the true labels and on the teacher's softened logits: Hinton, Vinyals, Dean: "Distilling the
Knowledge in a Neural Network" (2015). The formula is at losses.hinton_loss. A task that is no classification may define
distillation_loss(outputs, teacher_outputs) in its file, which then takes the place of the softened logits.
"""

from __future__ import annotations

from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.distillation import make_distillation_loss
from edgeproof.models.mixup import MixupAlpha, add_mixup
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/distill.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")
    mixup: MixupAlpha = 0.0


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the teacher's softened logits.

    Raises ConfigError for a task that is no classification and defines no distillation_loss of its own.
    """
    chosen = Options.model_validate(options)
    task = add_mixup(task, chosen.mixup)
    loss = make_distillation_loss(
        [teacher], task, "distill", temperature=chosen.temperature, hard_weight=chosen.hard_weight
    )
    return fit(model, task, chosen, loss=loss)
