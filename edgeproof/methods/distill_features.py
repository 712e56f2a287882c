"""Distill the features of a layer: one layer of the student learns to output what one layer of the teacher outputs.

Romero et al., "FitNets: Hints for Thin Deep Nets" (2015). The paper trains on the features first; here both terms are
trained together:

    L = L_Hinton + w · mean((F_t − A(F_s))²)

with the loss of losses.hinton_loss and the outputs F of the two layers, average-pooled to the smaller resolution. The
adapter A is a 1×1 convolution that is trained too and discarded afterwards. It is the identity if both layers have the
same width.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.layer_outputs import StudentWithAdapter, pool_to_same_resolution, record_outputs
from edgeproof.models.losses import compare_with_teacher
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask, compute_outputs


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_features.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")
    hint_weight: PositiveFloat = Field(description="weight w of the features")
    student_layer: str = Field(description="dotted name of the student's layer")
    teacher_layer: str = Field(description="dotted name of the teacher's layer")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels, the teacher's softened logits and the outputs of its layer."""
    chosen = Options.model_validate(options)
    with (
        record_outputs(model, [chosen.student_layer]) as ours,
        record_outputs(teacher, [chosen.teacher_layer]) as theirs,
    ):
        for module in (model, teacher):
            compute_outputs(module, task.train.select(slice(1)).inputs)
        widths = ours[chosen.student_layer].shape[1], theirs[chosen.teacher_layer].shape[1]
        student = StudentWithAdapter(model, _build_adapter(*widths, task.seed))

        def loss(outputs: Any, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher_outputs = teacher(*batch.inputs)
            distillation = compare_with_teacher(
                task, outputs, teacher_outputs, batch, temperature=chosen.temperature, hard_weight=chosen.hard_weight
            )
            hint = hint_loss(ours[chosen.student_layer], theirs[chosen.teacher_layer], student.adapter)
            return distillation + chosen.hint_weight * hint

        fit(student, task, chosen, loss=loss)
    return model


def hint_loss(student: torch.Tensor, teacher: torch.Tensor, adapter: nn.Module) -> torch.Tensor:
    """Return the last term of the formula, without its weight, from two outputs (N, C, H, W) or (N, C)."""
    pooled, hint = pool_to_same_resolution(student, teacher)
    return functional.mse_loss(adapter(pooled), hint)


def _build_adapter(student_width: int, teacher_width: int, seed: int) -> nn.Module:
    if student_width == teacher_width:
        return nn.Identity()
    convolution = nn.Conv2d(student_width, teacher_width, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, generator=torch.Generator().manual_seed(seed))
    return convolution
