"""Distill several teachers' logits into a student.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network" (2015), section 2, and You et al., "Learning from
Multiple Teacher Networks" (2017), equation 4: the soft targets are the arithmetic mean of the teachers' softened
answers, p = mean over k of softmax(z_k / T), in the loss of losses.hinton_loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.losses import make_hinton_loss
from edgeproof.models.training import Recipe, TrainingTask, compute_teacher_logits, fit


class Options(Recipe):
    """What conf/methods/distill_ensemble.yaml may set."""

    temperature: PositiveFloat
    hard_weight: float = Field(ge=0, le=1, description="weight of the cross-entropy with the true labels")


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module], **options: object) -> nn.Module:
    """Train the student `model` on labels and on what the teachers say on average."""
    chosen = Options.model_validate(options)
    answers = average_predictions([compute_teacher_logits(teacher, task) for teacher in teachers], chosen.temperature)
    loss = make_hinton_loss(answers, temperature=chosen.temperature, hard_weight=chosen.hard_weight)
    return fit(model, task, chosen, loss=loss)


def average_predictions(logits: Sequence[torch.Tensor], temperature: float) -> torch.Tensor:
    """Logits (…, classes) whose softmax at the temperature is the mean of the given logits' softmax at it."""
    softened = torch.stack([torch.log_softmax(z / temperature, dim=-1) for z in logits])
    # log of the mean, without leaving logarithms: small probabilities matter at high temperatures.
    return temperature * (torch.logsumexp(softened, dim=0) - torch.log(torch.tensor(float(len(logits)))))
