"""Distill relations: the distances and angles between samples in the feature space of a teacher.

Park et al., "Relational Knowledge Distillation" (2019):

    L = CE(z_s, y) + λ_D · mean over pairs of l(d_t, d_s) + λ_A · mean over triplets of l(cos_t, cos_s)

with the Huber loss l (δ = 1), d = ‖f_i − f_j‖ divided by its mean over the pairs of the batch, and cos the cosine of
the angle at sample j between the directions to samples i and k. Distances and angles do not change when features are
rotated, moved or scaled. Student and teacher may have features of different widths.
"""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn
from torch.nn import functional

from edgeproof.models.layer_outputs import record_outputs
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_relational.yaml."""

    batch_size: int = Field(ge=3, description="at least 3, since an angle needs three samples")
    distance_weight: NonNegativeFloat = Field(description="weight λ_D of the distances")
    angle_weight: NonNegativeFloat = Field(description="weight λ_A of the angles")
    student_layer: str = Field(description="dotted name of the student's layer; its output is flattened")
    teacher_layer: str = Field(description="dotted name of the teacher's layer; its output is flattened")


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the relations between the teacher's features."""
    chosen = Options.model_validate(options)
    teacher.eval()
    with (
        record_outputs(model, [chosen.student_layer]) as ours,
        record_outputs(teacher, [chosen.teacher_layer]) as theirs,
    ):

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher(*batch.inputs)
            student, features = ours[chosen.student_layer].flatten(1), theirs[chosen.teacher_layer].flatten(1)
            relations = chosen.distance_weight * distance_loss(student, features)
            relations += chosen.angle_weight * angle_loss(student, features)
            return task.loss(logits, batch) + relations

        return fit(model, task, chosen, loss=loss)


def distance_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean Huber loss of the distances over all pairs of samples, from features (N, width)."""
    return functional.smooth_l1_loss(
        functional.pdist(_scale_to_unit_distance(student)), functional.pdist(_scale_to_unit_distance(teacher))
    )


def angle_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean Huber loss of the angles over all N³ triplets, from features (N, width).

    Triplets with a repeated sample have the same angle in every model, so they add nothing.
    """
    return functional.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _scale_to_unit_distance(features: torch.Tensor) -> torch.Tensor:
    """Scale features to a mean distance of 1 between samples."""
    return features / functional.pdist(features).mean().clamp_min(torch.finfo(features.dtype).eps)


def _cosines(features: torch.Tensor) -> torch.Tensor:
    scaled = _scale_to_unit_distance(features)
    # For two samples closer than a thousandth of the mean distance, the direction is noise and its gradient unbounded.
    directions = functional.normalize(scaled[None] - scaled[:, None], dim=2, eps=1e-3)
    return directions @ directions.mT
