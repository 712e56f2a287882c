"""Distill attention maps: maps of how strongly each position of a layer responds.

Zagoruyko, Komodakis: "Paying More Attention to Attention" (2017), activation-based transfer:

    L = CE(z_s, y) + β · Σ over layers of mean((Q_s − Q_t)²),   Q = q / ‖q‖₂,   q = Σ over channels of A²

with a layer's output A (N, C, H, W). q is flattened to one vector for each sample. If the two layers differ in
resolution, both are average-pooled to the smaller one. They may differ in width, since channels are summed.

The mean is over samples and positions, as in the authors' code. Equation 2 of the paper uses norms instead, and its
section 4 divides β by the number of elements.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import nn
from torch.nn import functional

from edgeproof.models.layer_outputs import pool_to_same_resolution, record_outputs
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_attention.yaml."""

    beta: PositiveFloat = Field(description="weight of the attention term")
    student_layers: tuple[str, ...] = Field(min_length=1, description="dotted names of the student's layers")
    teacher_layers: tuple[str, ...] = Field(description="dotted names of the teacher's layers, in the same order")

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError("student_layers and teacher_layers must name the same number of layers")
        return self


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the teacher's attention maps."""
    chosen = Options.model_validate(options)
    teacher.eval()
    with record_outputs(model, chosen.student_layers) as ours, record_outputs(teacher, chosen.teacher_layers) as theirs:

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher(*batch.inputs)
            pairs = zip(chosen.student_layers, chosen.teacher_layers, strict=True)
            terms = [attention_loss(ours[our_name], theirs[their_name]) for our_name, their_name in pairs]
            return task.loss(logits, batch) + chosen.beta * torch.stack(terms).sum()

        return fit(model, task, chosen, loss=loss)


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the attention term of one pair of layers, from their outputs (N, C, H, W) or (N, C)."""
    ours, theirs = (_attention_map(x) for x in pool_to_same_resolution(student, teacher))
    return functional.mse_loss(ours, theirs)


def _attention_map(activations: torch.Tensor) -> torch.Tensor:
    return functional.normalize(activations.square().sum(1).flatten(1))
