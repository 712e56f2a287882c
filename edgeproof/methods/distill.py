"""Distill a teacher's logits into a student.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015):

    L = h · CE(z_s, y) + (1 − h) · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T))

with the student's and teacher's logits z_s and z_t, the temperature T and the weight h of the hard labels.
T² keeps the soft term's gradients at the same scale whatever the temperature (section 2.1 of the paper).
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import functional

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


def hinton_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, *, temperature: float, hard_weight: float
) -> torch.Tensor:
    """The formula above, averaged over a batch of logits (N, classes) with labels (N,)."""
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(student, labels)
    return hard_weight * hard + (1 - hard_weight) * temperature**2 * soft
