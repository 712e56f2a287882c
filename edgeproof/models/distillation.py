"""The loss of a training with teachers, which several methods share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, PositiveFloat
from torch import nn

from edgeproof.models.losses import make_hinton_loss
from edgeproof.models.training import Recipe
from edgeproof.models.training_task import Batch, Loss, Outputs, TrainingTask, make_teacher


class TaughtRecipe(Recipe):
    """Options of methods that fine-tune a model, and may have teachers."""

    temperature: PositiveFloat = Field(4.0, description="divides the logits before the softmax, if there is a teacher")
    hard_weight: float = Field(0.3, ge=0, le=1, description="weight of the true labels, 0 to 1, if there is a teacher")


def make_optional_loss(
    teachers: Sequence[nn.Module], task: TrainingTask, recipe: TaughtRecipe, method: str
) -> Loss | None:
    """Return the loss of fine-tuning with teachers, or None without teachers: `fit` then uses the task's loss.

    Raises ConfigError for a task that cannot be distilled, with the name of the method.
    """
    if not teachers:
        return None
    return make_distillation_loss(
        teachers, task, f"{method} with a teacher", temperature=recipe.temperature, hard_weight=recipe.hard_weight
    )


def make_distillation_loss(
    teachers: Sequence[nn.Module], task: TrainingTask, method: str, *, temperature: float, hard_weight: float
) -> Loss:
    """Return Hinton's loss towards the average prediction of the teachers, as losses.hinton_loss defines it.

    If the task defines a distillation_loss, the loss is h · (the task's loss) + (1 − h) · (the mean of its
    distillation_loss over the teachers), with the hard weight h.

    Args:
        method: what the message names if the task cannot be distilled.

    Raises ConfigError for a task that is no classification and has no distillation_loss.
    """
    compare = task.distillation_loss
    if compare is None:
        task.require_classification(method)
    teach = [make_teacher(teacher, task) for teacher in teachers]

    def average(batch: Batch) -> torch.Tensor:
        return average_predictions([each(batch) for each in teach], temperature)

    def compare_outputs(outputs: Outputs, batch: Batch) -> torch.Tensor:
        assert compare is not None
        soft = torch.stack([compare(outputs, each(batch)) for each in teach]).mean()
        return hard_weight * task.loss(outputs, batch) + (1 - hard_weight) * soft

    if compare is not None:
        return compare_outputs
    return make_hinton_loss(teach[0] if len(teach) == 1 else average, temperature=temperature, hard_weight=hard_weight)


def average_predictions(logits: Sequence[torch.Tensor], temperature: float) -> torch.Tensor:
    """Return the logits (…, classes) whose softmax is the mean softmax of the given logits, all at `temperature`."""
    softened = torch.stack([torch.log_softmax(z / temperature, dim=-1) for z in logits])
    # Compute the logarithm of the mean from logarithms: this keeps small probabilities exact.
    return temperature * (torch.logsumexp(softened, dim=0) - torch.log(torch.tensor(float(len(logits)))))
