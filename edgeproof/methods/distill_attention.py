"""Distill where a teacher looks: maps of how strongly each position of a layer responds.

Zagoruyko, Komodakis: "Paying More Attention to Attention" (2017), activation-based transfer:

    L = CE(z_s, y) + β · Σ over layers of mean((Q_s − Q_t)²),   Q = q / ‖q‖₂,   q = Σ over channels of A²

with a layer's output A (N, C, H, W), average-pooled to the smaller resolution where the two differ, and q flattened to
one vector a sample. The mean is over samples and positions: this is the form of the authors' code, where their
equation 2 has norms and their section 4 divides β by the number of elements. Widths may differ, since channels are
summed.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import nn
from torch.nn import functional

from edgeproof.models.layers import pool_to_same_resolution, record_outputs
from edgeproof.models.training import Batch, Recipe, TrainingTask, cross_entropy, fit


class Options(Recipe):
    """What conf/methods/distill_attention.yaml may set."""

    beta: PositiveFloat
    student_layers: tuple[str, ...] = Field(min_length=1, description="dotted names of the layers that learn")
    teacher_layers: tuple[str, ...] = Field(description="of the layers that they learn from, in the same order")

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError("student_layers and teacher_layers must name the same number of layers")
        return self


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the teacher's attention maps."""
    chosen = Options.model_validate(options)
    teacher.eval()
    with record_outputs(model, chosen.student_layers) as learned, record_outputs(teacher, chosen.teacher_layers) as taught:

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher(batch.x)
            pairs = zip(chosen.student_layers, chosen.teacher_layers, strict=True)
            distances = [attention_loss(learned[ours], taught[theirs]) for ours, theirs in pairs]
            return cross_entropy(logits, batch) + chosen.beta * torch.stack(distances).sum()

        return fit(model, task, chosen, loss=loss)


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The term of one pair of layers, from their outputs."""
    ours, theirs = (_attention_map(x) for x in pool_to_same_resolution(student, teacher))
    return functional.mse_loss(ours, theirs)


def _attention_map(activations: torch.Tensor) -> torch.Tensor:
    return functional.normalize(activations.square().sum(1).flatten(1))
