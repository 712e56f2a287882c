"""The part of a task that a method may see, and the batches that training draws from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port
from edgeproof.statistics.metric import Metric

EVALUATION_BATCH = 500

Array = np.ndarray[Any, Any]
# One tensor (N, *shape) for each input of the task.
Inputs = tuple[torch.Tensor, ...]
# What a network returns: a tensor, or a tuple of them if it has several outputs.
Outputs = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Split:
    """Samples of one split: the inputs, and the targets (N, …)."""

    inputs: Inputs
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, rows: slice | torch.Tensor) -> Split:
        """Return some of the samples."""
        return Split(select_rows(self.inputs, rows), self.targets[rows])


@dataclass(frozen=True)
class Batch:
    """Data of one training step: inputs, targets, and the index of each row's sample and view."""

    inputs: Inputs
    targets: torch.Tensor
    samples: torch.Tensor
    views: torch.Tensor


# Maps the outputs of a network and a batch to a scalar. A method declares the outputs that it expects.
Loss = Callable[[Any, Batch], torch.Tensor]


def cross_entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of logits (N, classes) with the true classes."""
    return nn.functional.cross_entropy(logits, batch.targets)


@dataclass(frozen=True)
class TrainingTask:
    """The part of a task that a method may see: training and validation data, never the test split.

    Attributes:
        inputs, outputs: what the network takes and gives.
        loss: the task's own loss; cross-entropy for a classification.
        is_classification: one output of class scores and class numbers as targets.
        metric: the description of the task's quality.
        measure: computes the quality from inputs, outputs and targets as arrays.
        views, view: `view(inputs, k)` returns the k-th label-preserving view of a batch, with k in 0..views-1; view 0
            is the batch itself.
        augment: returns a randomly changed batch from inputs, targets and a generator, or None.
        distillation_loss: compares the outputs of a student and a teacher where the task is no classification.
        from_parent: true when the module to train is another model, and false when its weights are random.
        network: the entry of meta.json that says how the module to train is built, where it can be built again.
        groups: the group of each training sample, such as its person or speaker (N,), where the task knows it.
        report: a method may call `report(name, facts)` to write facts of its own into the model's meta.json.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    train: Split
    validation: Split
    metric: Metric
    measure: Callable[[tuple[Array, ...], tuple[Array, ...], Array], float]
    seed: int
    threads: int
    views: int = 1
    view: Callable[[Inputs, int], Inputs] = lambda inputs, k: inputs
    loss: Loss = cross_entropy
    is_classification: bool = True
    augment: Callable[[Inputs, torch.Tensor, torch.Generator], tuple[Inputs, torch.Tensor]] | None = None
    distillation_loss: Callable[[Outputs, Outputs], torch.Tensor] | None = None
    from_parent: bool = False
    network: Mapping[str, Any] | None = None
    groups: Array | None = None
    report: Callable[[str, Mapping[str, Any]], None] = lambda name, facts: None

    def require_classification(self, method: str) -> None:
        """Raise ConfigError if a method that compares class scores cannot be used for this task."""
        if not self.is_classification:
            raise ConfigError(
                f"{method} compares class scores, and task '{self.name}' is no classification: its metric is "
                f"{self.metric.label}. Use distill_features, or train without a teacher."
            )

    def make_examples(self, count: int) -> Inputs:
        """Return `count` samples of zeros, which show a tracer the shapes and types of the inputs."""
        return make_examples(self.inputs, count)


def make_examples(ports: Sequence[Port], count: int) -> Inputs:
    """Return `count` samples of zeros for each input."""
    return tuple(torch.zeros(count, *port.shape, dtype=getattr(torch, port.dtype)) for port in ports)


def select_rows(inputs: Inputs, rows: slice | torch.Tensor) -> Inputs:
    """Return some samples of each input."""
    return tuple(tensor[rows] for tensor in inputs)


def split_inputs(inputs: Inputs, size: int) -> list[Inputs]:
    """Split the samples of each input into chunks of `size`, the last of which may be smaller."""
    return list(zip(*(torch.split(tensor, size) for tensor in inputs), strict=True))


def order_channels_last(inputs: Inputs) -> Inputs:
    """Store images (N, C, H, W) channels last, which is faster. Tensors of other ranks are made contiguous."""
    return tuple(
        tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor.contiguous()
        for tensor in inputs
    )


def count_steps(task: TrainingTask, batch_size: int) -> int:
    """Return the number of steps in one epoch. The samples that do not fill a whole batch are left out."""
    return len(task.train) // _limit_batch_size(task, batch_size)


def draw_batches(task: TrainingTask, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield the batches of one epoch: samples in random order, each in a random view, then augmented."""
    size = _limit_batch_size(task, batch_size)
    order = torch.randperm(len(task.train), generator=generator)
    views = torch.randint(task.views, (len(order),), generator=generator)
    for step in range(count_steps(task, batch_size)):
        rows = slice(step * size, (step + 1) * size)
        batch = build_batch(task, order[rows], views[rows])
        if task.augment is not None:
            inputs, targets = task.augment(batch.inputs, batch.targets, generator)
            batch = Batch(order_channels_last(inputs), targets, batch.samples, batch.views)
        yield batch


def build_batch(task: TrainingTask, samples: torch.Tensor, views: torch.Tensor) -> Batch:
    """Return the given training samples, each in the given view."""
    inputs = select_rows(task.train.inputs, samples)
    for k in range(1, task.views):
        in_view = views == k
        for tensor, changed in zip(inputs, task.view(select_rows(inputs, in_view), k), strict=True):
            tensor[in_view] = changed
    return Batch(order_channels_last(inputs), task.train.targets[samples], samples, views)


def _limit_batch_size(task: TrainingTask, batch_size: int) -> int:
    return min(batch_size, len(task.train))


@torch.no_grad()
def compute_outputs(module: nn.Module, inputs: Inputs) -> Any:
    """Return the outputs of a module for all samples: a tensor, or a tuple of tensors if it has several outputs.

    The module is left in evaluation mode.
    """
    module.eval()
    chunks = [module(*order_channels_last(chunk)) for chunk in split_inputs(inputs, EVALUATION_BATCH)]
    if isinstance(chunks[0], torch.Tensor):
        return torch.cat(chunks)
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def make_teacher(teacher: nn.Module, task: TrainingTask) -> Callable[[Batch], Any]:
    """Return a function that gives the teacher's outputs for a batch.

    Without augmentation they are computed once for every view of every sample, and looked up afterwards.
    """
    if task.augment is not None:
        return lambda batch: compute_outputs(teacher, batch.inputs)
    outputs = [compute_outputs(teacher, task.view(task.train.inputs, k)) for k in range(task.views)]
    if isinstance(outputs[0], torch.Tensor):
        single = torch.stack(outputs)
        return lambda batch: single[batch.views, batch.samples]
    several = [torch.stack(parts) for parts in zip(*outputs, strict=True)]
    return lambda batch: tuple(part[batch.views, batch.samples] for part in several)


def measure_quality(module: nn.Module, task: TrainingTask, split: Split) -> float:
    """Return the quality of a module on a split, by the task's metric."""
    outputs = compute_outputs(module, split.inputs)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    arrays = tuple(tensor.numpy() for tensor in split.inputs)
    return task.measure(arrays, tuple(tensor.numpy() for tensor in tensors), split.targets.numpy())
