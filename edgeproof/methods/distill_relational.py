"""Distill how samples lie to one another in a teacher's features: their distances and angles.

Park et al., "Relational Knowledge Distillation" (2019):

    L = CE(z_s, y) + λ_D · mean over pairs of l(d_t, d_s) + λ_A · mean over triplets of l(cos_t, cos_s)

with the Huber loss l (δ = 1), d = ‖f_i − f_j‖ / its mean over the batch's pairs, and cos the cosine of the angle at
sample j between the directions to samples i and k. Both are unchanged when features are rotated, moved or scaled, so
student and teacher may have features of different widths.
"""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.layers import record_outputs
from edgeproof.models.training import Batch, Recipe, TrainingTask, cross_entropy, fit


class Options(Recipe):
    """What conf/methods/distill_relational.yaml may set."""

    batch_size: int = Field(ge=3, description="there is no angle among fewer samples")
    distance_weight: NonNegativeFloat
    angle_weight: NonNegativeFloat
    student_layer: str = Field(description="dotted name of the layer that gives the features, flattened")
    teacher_layer: str


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the relations among the teacher's features."""
    chosen = Options.model_validate(options)
    teacher.eval()
    with record_outputs(model, [chosen.student_layer]) as learned, record_outputs(teacher, [chosen.teacher_layer]) as taught:

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher(batch.x)
            ours, theirs = learned[chosen.student_layer].flatten(1), taught[chosen.teacher_layer].flatten(1)
            relations = chosen.distance_weight * distance_loss(ours, theirs)
            relations += chosen.angle_weight * angle_loss(ours, theirs)
            return cross_entropy(logits, batch) + relations

        return fit(model, task, chosen, loss=loss)


def distance_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean over all pairs of samples, from features (N, width)."""
    return functional.smooth_l1_loss(functional.pdist(_unit_spread(student)), functional.pdist(_unit_spread(teacher)))


def angle_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean over all N³ triplets; those that name a sample twice agree in any two models and add nothing."""
    return functional.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _unit_spread(features: torch.Tensor) -> torch.Tensor:
    """Scale features to a mean distance of 1."""
    return features / functional.pdist(features).mean().clamp_min(torch.finfo(features.dtype).eps)


def _cosines(features: torch.Tensor) -> torch.Tensor:
    scaled = _unit_spread(features)
    # Closer than a thousandth of the mean distance, a direction is noise, and its gradient would have no bound.
    directions = functional.normalize(scaled[None] - scaled[:, None], dim=2, eps=1e-3)
    return directions @ directions.mT
