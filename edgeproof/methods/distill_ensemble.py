"""Distill the average prediction of several teachers into a student.

The soft targets are the arithmetic mean of the teachers' softened predictions, p = mean over k of softmax(z_k / T), in
the loss of losses.hinton_loss. Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015), section 2,
and You et al., "Learning from Multiple Teacher Networks" (2017), equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.distillation import make_distillation_loss
from edgeproof.models.mixup import MixupAlpha, add_mixup
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_ensemble.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")
    mixup: MixupAlpha = 0.0


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module], **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the average prediction of the teachers."""
    chosen = Options.model_validate(options)
    task = add_mixup(task, chosen.mixup)
    loss = make_distillation_loss(
        teachers, task, "distill_ensemble", temperature=chosen.temperature, hard_weight=chosen.hard_weight
    )
    return fit(model, task, chosen, loss=loss)
