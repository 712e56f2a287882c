"""Distill logits in two separate parts: how sure the teacher is of the true class, and how it ranks the others.

Zhao et al., "Decoupled Knowledge Distillation" (2022):

    L = CE(z_s, y) + T² · (α · TCKD + β · NCKD)
    TCKD = KL([p_t, 1 − p_t] of the teacher ‖ [p_t, 1 − p_t] of the student),   p = softmax(z / T), t the true class
    NCKD = KL(softmax(z / T) over the other classes of the teacher ‖ that of the student)

Hinton's KL is TCKD + (1 − p_t) · NCKD with the teacher's p_t (equation 7 of the paper). If the teacher is sure, the
second term is small and the student learns little about the other classes. A constant β prevents that.
"""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask, make_teacher


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_dkd.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    alpha: NonNegativeFloat = Field(description="weight of the target class term, TCKD")
    beta: NonNegativeFloat = Field(description="weight of the other classes term, NCKD")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and both parts of the teacher's predictions."""
    chosen = Options.model_validate(options)
    task.require_classification("distill_dkd")
    teach = make_teacher(teacher, task)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        target, others = compute_decoupled_losses(
            logits / chosen.temperature, teach(batch) / chosen.temperature, batch.targets
        )
        soft = chosen.alpha * target.mean() + chosen.beta * others.mean()
        return task.loss(logits, batch) + chosen.temperature**2 * soft

    return fit(model, task, chosen, loss=loss)


def compute_decoupled_losses(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return TCKD and NCKD of each sample.

    `student` and `teacher` are logits (N, classes), already divided by the temperature; `labels` is (N,).
    """
    (student_binary, student_others), (teacher_binary, teacher_others) = (
        _split(student, labels),
        _split(teacher, labels),
    )
    return _divergence(teacher_binary, student_binary), _divergence(teacher_others, student_others)


def _split(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log [p_t, 1 − p_t] (N, 2) and the log-softmax over the other classes (N, classes − 1)."""
    log_p = functional.log_softmax(logits, dim=1)
    true = functional.one_hot(labels, logits.shape[1]).bool()
    others = log_p[~true].reshape(len(labels), -1)
    binary = torch.stack([log_p[true], others.logsumexp(1)], dim=1)
    return binary, functional.log_softmax(others, dim=1)


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
