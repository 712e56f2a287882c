"""Training tasks and ports for tests, made from tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from edgeproof.core.ports import Port
from edgeproof.metrics import accuracy
from edgeproof.models.training_task import Inputs, Split, TrainingTask

Ports = tuple[Port, ...]
View = Callable[[torch.Tensor, int], torch.Tensor]


def make_ports(shape: Sequence[int], classes: int) -> tuple[Ports, Ports]:
    """Return the ports of a network that classifies images: one image and one output of class scores."""
    return make_inputs(shape), (Port("logits", (classes,)),)


def make_inputs(*shapes: Sequence[int]) -> Ports:
    """Return a float32 input for each shape: `image`, or `input_0`, `input_1`, … if there are several."""
    names = ["image"] if len(shapes) == 1 else [f"input_{n}" for n in range(len(shapes))]
    return tuple(Port(name, tuple(shape)) for name, shape in zip(names, shapes, strict=True))


def make_training_task(
    x: torch.Tensor | Inputs,
    y: torch.Tensor,
    classes: int,
    *,
    validation_samples: int | None = None,
    views: int = 1,
    view: View = lambda tensor, k: tensor,
    **changes: Any,
) -> TrainingTask:
    """Build a classification from inputs and labels.

    Its first `validation_samples` samples (by default all) are the validation split too. `view` changes each input by
    itself. `changes` are other fields of the task, which may turn it into a task of another kind.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    train = Split(inputs, y)
    fields: dict[str, Any] = {
        "name": "task",
        "inputs": make_inputs(*(tensor.shape[1:] for tensor in inputs)),
        "outputs": (Port("logits", (classes,)),),
        "train": train,
        "validation": train.select(slice(validation_samples)),
        "metric": accuracy.METRIC,
        "measure": measure_accuracy,
        "seed": 0,
        "threads": 1,
        "views": views,
        "view": lambda batch, k: tuple(view(tensor, k) for tensor in batch),
    }
    return TrainingTask(**fields | changes)


def measure_accuracy(inputs: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...], targets: np.ndarray) -> float:
    """Return the share of samples whose largest output belongs to their label."""
    return accuracy.compute(accuracy.collect(outputs, targets))
