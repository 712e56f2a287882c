"""The functions of a task that training calls, from the task's plugin: views, loss and augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgeproof.data.task_checks import as_tuple, is_classification
from edgeproof.models.training_task import Batch, Inputs, Loss, cross_entropy


def build_functions(plugin: Any) -> dict[str, Any]:
    """Return the fields of a TrainingTask that follow from the task alone and not from its samples."""
    return {
        "views": plugin.VIEWS,
        "view": lambda inputs, k: as_tuple(plugin.view(_untuple(inputs), k)),
        "loss": _make_loss(plugin),
        "is_classification": is_classification(plugin),
        "augment": _make_augmentation(plugin),
        "distillation_loss": getattr(plugin, "distillation_loss", None),
    }


def _make_loss(plugin: Any) -> Loss:
    if not hasattr(plugin, "loss"):
        return cross_entropy

    def compute_loss(outputs: Any, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = plugin.loss(outputs, batch.targets, _untuple(batch.inputs))
        return loss

    return compute_loss


def _make_augmentation(
    plugin: Any,
) -> Callable[[Inputs, torch.Tensor, torch.Generator], tuple[Inputs, torch.Tensor]] | None:
    if not hasattr(plugin, "augment"):
        return None

    def augment(inputs: Inputs, targets: torch.Tensor, generator: torch.Generator) -> tuple[Inputs, torch.Tensor]:
        changed, new_targets = plugin.augment(_untuple(inputs), targets, generator)
        return as_tuple(changed), new_targets

    return augment


def _untuple(inputs: Inputs) -> Any:
    """Return the tensor of a task with one input, and the tuple of a task with several."""
    return inputs[0] if len(inputs) == 1 else inputs
