"""One training loop for every method: SGD with a one-cycle schedule, deterministic to the bit.

The recipe's thread count is part of the result: another count adds floating-point numbers in another order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.progress import Progress

EVALUATION_BATCH = 500
# A hair above a fifth: OneCycleLR divides by the length of the rise less one step, which for five steps would be zero.
WARMUP_SHARE = 0.2 + 1e-9


class Recipe(BaseModel):
    """How to train: the options that methods with a training loop share."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: NonNegativeInt = Field(description="0 keeps the weights as they are")
    batch_size: PositiveInt
    learning_rate: PositiveFloat = Field(description="the peak of the one-cycle schedule")
    momentum: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat


@dataclass(frozen=True)
class TrainingTask:
    """What a method may see of a task: training and validation data, never the test split.

    `view(x, k)` is the k-th label-preserving view of a batch (k in 0..views-1; 0 is the batch itself). `from_parent`
    says that the network to be trained is another model, not one drawn at random.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    train_x: torch.Tensor
    train_y: torch.Tensor
    validation_x: torch.Tensor
    validation_y: torch.Tensor
    views: int
    view: Callable[[torch.Tensor, int], torch.Tensor]
    seed: int
    threads: int
    from_parent: bool = False


@dataclass(frozen=True)
class Batch:
    """One step's data: float inputs, labels, and which sample and view each row is."""

    x: torch.Tensor
    labels: torch.Tensor
    samples: torch.Tensor
    views: torch.Tensor


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained with a learning rate of their own, its schedule's peak, and without weight decay."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float


Loss = Callable[[torch.Tensor, Batch], torch.Tensor]


def make_deterministic(seed: int, threads: int) -> None:
    """Make every following torch operation reproducible to the bit for this seed and thread count."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms(True), without importing the compiler (1.5 s).
    torch.set_deterministic_debug_mode("error")


def cross_entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean cross-entropy with the true labels."""
    return nn.functional.cross_entropy(logits, batch.labels)


def fit(
    module: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    *,
    loss: Loss = cross_entropy,
    after_step: Callable[[], None] | None = None,
    proximal: Callable[[float], None] | None = None,
    apart: ParameterGroup | None = None,
    keep_zeros: bool = False,
) -> nn.Module:
    """Train `module` in place and return it in evaluation mode. No epoch sees a sample twice; views are random.

    After each step come `proximal`, which is given the step's learning rate, and `after_step`. Weights that are zero at
    the start stay zero with `keep_zeros`, and always where they are a parent's: what was pruned stays pruned. In a
    network drawn at random a zero is where its weight begins. Raises ConfigError when training diverges.
    """
    if recipe.epochs == 0:
        return module.eval()
    zeros = _find_zeros(module) if keep_zeros or task.from_parent else []
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shuffle = torch.Generator().manual_seed(task.seed)
    size = min(recipe.batch_size, len(task.train_x))
    steps = len(task.train_x) // size
    groups, rates = _parameter_groups(module, recipe, apart)
    optimizer = torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, recipe.epochs * steps, pct_start=WARMUP_SHARE, cycle_momentum=False
    )
    with Progress("training", recipe.epochs * steps) as progress:
        for epoch in range(recipe.epochs):
            module.train()
            order = torch.randperm(len(task.train_x), generator=shuffle)
            views = torch.randint(task.views, (len(order),), generator=shuffle)
            for step in range(steps):
                batch = _batch(task, order[step * size : (step + 1) * size], views[step * size : (step + 1) * size])
                value = loss(module(batch.x), batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if proximal is not None:
                    proximal(float(schedule.get_last_lr()[0]))
                schedule.step()
                _restore_zeros(zeros)
                if after_step is not None:
                    after_step()
                progress.advance()
            accuracy = measure_accuracy(module, task.validation_x, task.validation_y)
            progress.note(f"epoch {epoch + 1}/{recipe.epochs}: validation accuracy {accuracy:.2%}")
            _refuse_diverged(module, recipe, epoch + 1)
    return module.eval()


def _refuse_diverged(module: nn.Module, recipe: Recipe, epoch: int) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
        raise ConfigError(
            f"training diverged: after epoch {epoch} of {recipe.epochs} weights are infinite or NaN. Use a smaller "
            f"learning_rate than {recipe.learning_rate:g}, or a larger batch_size than {recipe.batch_size}."
        )


def _find_zeros(module: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """The weights, which are the parameters with more than one dimension, and where they are zero."""
    return [(weight, weight.detach() == 0) for weight in module.parameters() if weight.dim() > 1]


@torch.no_grad()
def _restore_zeros(zeros: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    for weight, zero in zeros:
        weight.masked_fill_(zero, 0.0)


def _parameter_groups(
    module: nn.Module, recipe: Recipe, apart: ParameterGroup | None
) -> tuple[list[dict[str, Any]], list[float]]:
    """The optimizer's groups, and the peak of each one's learning rate."""
    if apart is None:
        return [{"params": list(module.parameters())}], [recipe.learning_rate]
    excepted = {id(p) for p in apart.parameters}
    rest = [p for p in module.parameters() if id(p) not in excepted]
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": list(apart.parameters), "weight_decay": 0.0}]
    return groups, [recipe.learning_rate, apart.learning_rate]


def _batch(task: TrainingTask, samples: torch.Tensor, views: torch.Tensor) -> Batch:
    x = task.train_x[samples]
    for k in range(1, task.views):
        chosen = views == k
        x[chosen] = task.view(x[chosen], k)
    return Batch(x.contiguous(memory_format=torch.channels_last), task.train_y[samples], samples, views)


@torch.no_grad()
def compute_logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The module's outputs for all of `x`, in evaluation mode."""
    module.eval()
    pieces = torch.split(x, EVALUATION_BATCH)
    return torch.cat([module(piece.contiguous(memory_format=torch.channels_last)) for piece in pieces])


def compute_teacher_logits(teacher: nn.Module, task: TrainingTask) -> torch.Tensor:
    """The teacher's outputs for every view of every training sample, (views, samples, classes)."""
    return torch.stack([compute_logits(teacher, task.view(task.train_x, k)) for k in range(task.views)])


def measure_accuracy(module: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of `x` whose highest output is its label."""
    return float((compute_logits(module, x).argmax(1) == labels).double().mean())
