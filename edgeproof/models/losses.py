"""Losses that several methods share."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeproof.models.training import Batch, Loss


def hinton_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, *, temperature: float, hard_weight: float
) -> torch.Tensor:
    """Learn from labels and from a teacher's softened answers: logits (N, classes) and labels (N,), averaged over N.

    Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015):

        L = h · CE(z_s, y) + (1 − h) · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T))

    with the student's and teacher's logits z_s and z_t, the temperature T and the weight h of the hard labels.
    T² keeps the soft term's gradients at the same scale whatever the temperature (section 2.1 of the paper).
    """
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(student, labels)
    return hard_weight * hard + (1 - hard_weight) * temperature**2 * soft


def make_hinton_loss(answers: torch.Tensor, *, temperature: float, hard_weight: float) -> Loss:
    """Hinton's loss against a teacher's answers (views, samples, classes), computed once instead of in every epoch."""

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        given = answers[batch.views, batch.samples]
        return hinton_loss(logits, given, batch.labels, temperature=temperature, hard_weight=hard_weight)

    return loss
