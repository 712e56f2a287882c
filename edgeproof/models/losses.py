"""Loss functions that several methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from edgeproof.models.training_task import Batch, Loss, TrainingTask


def hinton_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, *, temperature: float, hard_weight: float
) -> torch.Tensor:
    """Return Hinton's distillation loss of logits (N, classes) and labels (N,), averaged over N.

    Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015):

        L = h · CE(z_s, y) + (1 − h) · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T))

    with the logits z_s of the student and z_t of the teacher, the temperature T, and the weight h of the true labels.
    T² makes the scale of the soft term's gradients independent of the temperature (section 2.1 of the paper).
    """
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(student, labels)
    return hard_weight * hard + (1 - hard_weight) * temperature**2 * soft


def make_hinton_loss(teach: Callable[[Batch], Any], *, temperature: float, hard_weight: float) -> Loss:
    """Return Hinton's loss as a function for `fit`. `teach` gives the teacher's logits (N, classes) for a batch."""

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return hinton_loss(logits, teach(batch), batch.targets, temperature=temperature, hard_weight=hard_weight)

    return loss


def compare_with_teacher(
    task: TrainingTask, outputs: Any, teacher_outputs: Any, batch: Batch, *, temperature: float, hard_weight: float
) -> torch.Tensor:
    """Return Hinton's loss for a classification, and the task's own loss for any other task."""
    if not task.is_classification:
        return task.loss(outputs, batch)
    return hinton_loss(outputs, teacher_outputs, batch.targets, temperature=temperature, hard_weight=hard_weight)
