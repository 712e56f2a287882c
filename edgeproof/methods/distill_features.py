"""Distill a teacher's features and logits: the student's chosen layer learns to give what the teacher's gives.

Romero et al., "FitNets: Hints for Thin Deep Nets" (2015), with the hint beside the logits instead of a stage before:

    L = L_Hinton + w · mean((F_t − A(F_s))²)

with Hinton's loss (see losses.hinton_loss) and the features F of the two layers, average-pooled to the smaller
resolution. The adapter A is a 1×1 convolution, trained along and thrown away afterwards; it is left out where both
layers have the same width.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.layers import StudentWithAdapter, pool_to_same_resolution, record_outputs
from edgeproof.models.losses import hinton_loss
from edgeproof.models.training import Batch, Recipe, TrainingTask, compute_logits, fit


class Options(Recipe):
    """What conf/methods/distill_features.yaml may set."""

    temperature: PositiveFloat
    hard_weight: float = Field(ge=0, le=1, description="weight of the cross-entropy with the true labels")
    hint_weight: PositiveFloat
    student_layer: str = Field(description="dotted name of the layer that learns")
    teacher_layer: str = Field(description="dotted name of the layer that it learns from")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels, on the teacher's softened logits and on the outputs of its layer."""
    chosen = Options.model_validate(options)
    with record_outputs(model, [chosen.student_layer]) as learned, record_outputs(teacher, [chosen.teacher_layer]) as taught:
        for module in (model, teacher):
            compute_logits(module, task.train_x[:1])
        widths = learned[chosen.student_layer].shape[1], taught[chosen.teacher_layer].shape[1]
        student = StudentWithAdapter(model, _build_adapter(*widths, task.seed))

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                answers = teacher(batch.x)
            learnt = hinton_loss(
                logits, answers, batch.labels, temperature=chosen.temperature, hard_weight=chosen.hard_weight
            )
            hint = hint_loss(learned[chosen.student_layer], taught[chosen.teacher_layer], student.adapter)
            return learnt + chosen.hint_weight * hint

        fit(student, task, chosen, loss=loss)
    return model


def hint_loss(student: torch.Tensor, teacher: torch.Tensor, adapter: nn.Module) -> torch.Tensor:
    """The last term of the formula above, from two layers' outputs (N, C, H, W) or (N, C)."""
    pooled, hint = pool_to_same_resolution(student, teacher)
    return functional.mse_loss(adapter(pooled), hint)


def _build_adapter(width: int, hint_width: int, seed: int) -> nn.Module:
    if width == hint_width:
        return nn.Identity()
    convolution = nn.Conv2d(width, hint_width, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, generator=torch.Generator().manual_seed(seed))
    return convolution
