"""Load the part of a prepared task that a method may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgeproof.core.described_tasks import load_task
from edgeproof.data import preparation
from edgeproof.data.task_checks import as_tuple, is_classification
from edgeproof.data.task_quality import load_task_quality, postprocess_all
from edgeproof.models.training_task import Batch, Inputs, Loss, Split, TrainingTask, cross_entropy
from edgeproof.paths import DATA

Array = np.ndarray[Any, Any]


def load_training_task(name: str, seed: int, threads: int, *, from_parent: bool = False) -> TrainingTask:
    """Load the training and validation samples of a task, with its views, its loss and its metric."""
    plugin = load_task(name, DATA / name)
    quality = load_task_quality(name)

    def measure(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> float:
        return quality.measure(inputs, postprocess_all(plugin, outputs), targets)

    return TrainingTask(
        name=name,
        inputs=plugin.INPUTS,
        outputs=plugin.OUTPUTS,
        train=_load_split(name, "train"),
        validation=_load_split(name, "validation"),
        metric=quality.metric,
        measure=measure,
        seed=seed,
        threads=threads,
        views=plugin.VIEWS,
        view=lambda inputs, k: as_tuple(plugin.view(_untuple(inputs), k)),
        loss=_make_loss(plugin),
        is_classification=is_classification(plugin),
        augment=_make_augmentation(plugin),
        distillation_loss=getattr(plugin, "distillation_loss", None),
        from_parent=from_parent,
        groups=preparation.load_groups(name),
    )


def _load_split(task: str, split: str) -> Split:
    inputs, targets = preparation.load_split(task, split)
    return Split(tuple(map(torch.from_numpy, inputs)), torch.from_numpy(targets))


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
