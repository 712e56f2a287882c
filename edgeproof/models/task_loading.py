"""Load the part of a prepared task that a method may see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgeproof.core.described_tasks import load_task
from edgeproof.data import preparation
from edgeproof.data.task_quality import load_task_quality, postprocess_all
from edgeproof.models.task_functions import build_functions
from edgeproof.models.training_task import Split, TrainingTask
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
        from_parent=from_parent,
        groups=preparation.load_groups(name),
        **build_functions(plugin),
    )


def _load_split(task: str, split: str) -> Split:
    inputs, targets = preparation.load_split(task, split)
    return Split(tuple(map(torch.from_numpy, inputs)), torch.from_numpy(targets))
