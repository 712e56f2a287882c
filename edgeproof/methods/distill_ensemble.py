"""Distill the average prediction of several teachers into a student.

The soft targets are the arithmetic mean of the teachers' softened predictions, p = mean over k of softmax(z_k / T), in
the loss of losses.hinton_loss. Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015), section 2,
and You et al., "Learning from Multiple Teacher Networks" (2017), equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.losses import make_hinton_loss
from edgeproof.models.mixup import MixupAlpha, add_mixup
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask, make_teacher


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_ensemble.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")
    mixup: MixupAlpha = 0.0


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module], **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the average prediction of the teachers."""
    chosen = Options.model_validate(options)
    task.require_classification("distill_ensemble")
    task = add_mixup(task, chosen.mixup)
    teach = [make_teacher(teacher, task) for teacher in teachers]

    def average(batch: Batch) -> torch.Tensor:
        return average_predictions([each(batch) for each in teach], chosen.temperature)

    loss = make_hinton_loss(average, temperature=chosen.temperature, hard_weight=chosen.hard_weight)
    return fit(model, task, chosen, loss=loss)


def average_predictions(logits: Sequence[torch.Tensor], temperature: float) -> torch.Tensor:
    """Return the logits (…, classes) whose softmax is the mean softmax of the given logits, all at `temperature`."""
    softened = torch.stack([torch.log_softmax(z / temperature, dim=-1) for z in logits])
    # Compute the logarithm of the mean from logarithms: this keeps small probabilities exact.
    return temperature * (torch.logsumexp(softened, dim=0) - torch.log(torch.tensor(float(len(logits)))))
