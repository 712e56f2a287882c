"""Distill a teacher's logits in two separate parts: how sure it is of the true class, and how it ranks the others.

Zhao et al., "Decoupled Knowledge Distillation" (2022):

    L = CE(z_s, y) + T² · (α · TCKD + β · NCKD)
    TCKD = KL([p_t, 1 − p_t] of the teacher ‖ [p_t, 1 − p_t] of the student),   p = softmax(z / T), t the true class
    NCKD = KL(softmax(z / T) over the other classes of the teacher ‖ that of the student)

Hinton's KL is TCKD + (1 − p_t) · NCKD with the teacher's p_t (the paper's equation 7): a sure teacher silences what it
knows of the other classes, and a constant β does not.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.training import Batch, Recipe, TrainingTask, compute_logits, cross_entropy, fit


class Options(Recipe):
    """What conf/methods/distill_dkd.yaml may set."""

    temperature: PositiveFloat
    alpha: NonNegativeFloat
    beta: NonNegativeFloat


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the two parts of the teacher's answers."""
    chosen = Options.model_validate(options)
    answers = torch.stack([compute_logits(teacher, task.view(task.train_x, k)) for k in range(task.views)])

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        target, others = compute_decoupled_losses(
            logits / chosen.temperature, answers[batch.views, batch.samples] / chosen.temperature, batch.labels
        )
        soft = chosen.alpha * target.mean() + chosen.beta * others.mean()
        return cross_entropy(logits, batch) + chosen.temperature**2 * soft

    return fit(model, task, chosen, loss=loss)


def compute_decoupled_losses(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """TCKD and NCKD of each sample, from logits (N, classes), divided by the temperature already, and labels (N,)."""
    (student_binary, student_others), (teacher_binary, teacher_others) = (
        _split(student, labels),
        _split(teacher, labels),
    )
    return _divergence(teacher_binary, student_binary), _divergence(teacher_others, student_others)


def _split(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of [p_t, 1 − p_t], and of the probabilities of the other classes among themselves."""
    log_p = functional.log_softmax(logits, dim=1)
    true = functional.one_hot(labels, logits.shape[1]).bool()
    others = log_p[~true].reshape(len(labels), -1)
    binary = torch.stack([log_p[true], others.logsumexp(1)], dim=1)
    return binary, functional.log_softmax(others, dim=1)


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
