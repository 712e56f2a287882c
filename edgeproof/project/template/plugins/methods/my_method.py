"""Train with smoothed labels: Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/my_method.yaml."""

    smoothing: float = Field(ge=0, lt=1, description="share of a label's weight that all classes get")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` and return it."""
    chosen = Options.model_validate(options)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, batch.targets, label_smoothing=chosen.smoothing)

    return fit(model, task, chosen, loss=loss)
