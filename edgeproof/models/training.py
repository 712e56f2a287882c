"""Train a torch module: the recipe, the data that a method may see, and one loop that every method uses.

The optimizer is SGD with Nesterov momentum and a one-cycle schedule. Results are identical to the bit for the same seed
and the same number of threads. Another number of threads adds floating-point numbers in another order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.progress import Progress

EVALUATION_BATCH = 500
# The share of all steps in which the learning rate rises. It is slightly above 0.2, because OneCycleLR divides by the
# number of rising steps minus one, which would be zero for five steps.
WARMUP_SHARE = 0.2 + 1e-9


class Recipe(BaseModel):
    """Options that all methods with a training loop share."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: NonNegativeInt = Field(description="passes over the training split; 0 keeps the weights as they are")
    batch_size: PositiveInt = Field(description="samples in one step")
    learning_rate: PositiveFloat = Field(description="peak of the one-cycle schedule")
    momentum: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat


@dataclass(frozen=True)
class TrainingTask:
    """The part of a task that a method may see: training and validation data, never the test split.

    `view(x, k)` returns the k-th label-preserving view of a batch, with k in 0..views-1; view 0 is the batch itself.
    `from_parent` is true when the module to train is another model, and false when its weights are random.
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
    """Data of one training step: inputs (N, C, H, W), labels (N,), and the index of each row's sample and view."""

    x: torch.Tensor
    labels: torch.Tensor
    samples: torch.Tensor
    views: torch.Tensor


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that have their own learning rate (the peak of its schedule) and no weight decay."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float


Loss = Callable[[torch.Tensor, Batch], torch.Tensor]
# Each weight tensor with a mask of its zeros.
ZeroMasks = list[tuple[nn.Parameter, torch.Tensor]]


def make_deterministic(seed: int, threads: int) -> None:
    """Make all following torch operations reproducible to the bit for this seed and number of threads."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # This has the same effect as use_deterministic_algorithms(True), which imports the compiler and takes 1.5 s.
    torch.set_deterministic_debug_mode("error")


def cross_entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of logits (N, classes) with the true labels."""
    return nn.functional.cross_entropy(logits, batch.labels)


def fit(
    module: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    *,
    loss: Loss = cross_entropy,
    after_step: Callable[[], None] | None = None,
    proximal: Callable[[float], None] | None = None,
    separate_group: ParameterGroup | None = None,
    keep_zeros: bool = False,
) -> nn.Module:
    """Train `module` in place and return it in evaluation mode.

    An epoch sees each sample at most once, in a random view. After each step of the optimizer, `proximal` is called
    with the learning rate of that step, then `after_step`. Weights that are zero at the start stay zero if `keep_zeros`
    is set or the module comes from a parent, so pruned weights stay pruned. A zero in a random initialization is free
    to change. Raises ConfigError when training diverges.
    """
    if recipe.epochs == 0:
        return module.eval()
    zeros = find_zeros(module) if keep_zeros or task.from_parent else []
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(task.seed)
    total_steps = recipe.epochs * count_steps(task, recipe.batch_size)
    optimizer, schedule = _build_optimizer(module, recipe, separate_group, total_steps)
    with Progress("training", total_steps) as progress:
        for epoch in range(1, recipe.epochs + 1):
            module.train()
            for batch in draw_batches(task, recipe.batch_size, generator):
                value = loss(module(batch.x), batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if proximal is not None:
                    proximal(float(schedule.get_last_lr()[0]))
                schedule.step()
                restore_zeros(zeros)
                if after_step is not None:
                    after_step()
                progress.advance()
            accuracy = measure_accuracy(module, task.validation_x, task.validation_y)
            progress.note(f"epoch {epoch}/{recipe.epochs}: validation accuracy {accuracy:.2%}")
            _refuse_diverged(module, recipe, epoch)
    return module.eval()


def _build_optimizer(
    module: nn.Module, recipe: Recipe, separate_group: ParameterGroup | None, total_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    groups: list[dict[str, Any]] = [{"params": list(module.parameters())}]
    peak_rates = [recipe.learning_rate]
    if separate_group is not None:
        separate_ids = {id(p) for p in separate_group.parameters}
        rest = [p for p in module.parameters() if id(p) not in separate_ids]
        groups = [{"params": rest}, {"params": list(separate_group.parameters), "weight_decay": 0.0}]
        peak_rates.append(separate_group.learning_rate)
    optimizer = torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_rates, total_steps, pct_start=WARMUP_SHARE, cycle_momentum=False
    )
    return optimizer, schedule


def _refuse_diverged(module: nn.Module, recipe: Recipe, epoch: int) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
        raise ConfigError(
            f"training diverged: after epoch {epoch} of {recipe.epochs}, weights are infinite or NaN. Use a "
            f"learning_rate below {recipe.learning_rate:g} or a batch_size above {recipe.batch_size}."
        )


def count_steps(task: TrainingTask, batch_size: int) -> int:
    """Return the number of steps in one epoch. The samples that do not fill a whole batch are left out."""
    return len(task.train_x) // _limit_batch_size(task, batch_size)


def draw_batches(task: TrainingTask, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield the batches of one epoch: samples in random order, each in a random view."""
    size = _limit_batch_size(task, batch_size)
    order = torch.randperm(len(task.train_x), generator=generator)
    views = torch.randint(task.views, (len(order),), generator=generator)
    for step in range(count_steps(task, batch_size)):
        rows = slice(step * size, (step + 1) * size)
        yield _build_batch(task, order[rows], views[rows])


def _limit_batch_size(task: TrainingTask, batch_size: int) -> int:
    return min(batch_size, len(task.train_x))


def _build_batch(task: TrainingTask, samples: torch.Tensor, views: torch.Tensor) -> Batch:
    x = task.train_x[samples]
    for k in range(1, task.views):
        in_view = views == k
        x[in_view] = task.view(x[in_view], k)
    return Batch(x.contiguous(memory_format=torch.channels_last), task.train_y[samples], samples, views)


def find_weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the weight tensors of a module: its parameters with more than one dimension.

    Biases, parameters of normalizations and positions have one dimension. Methods neither prune nor quantize them.
    """
    return [p for p in module.parameters() if p.dim() > 1]


def find_zeros(module: nn.Module) -> ZeroMasks:
    """Return each weight tensor of a module with a mask that is true where the weight is zero now."""
    return [(weight, weight.detach() == 0) for weight in find_weights(module)]


@torch.no_grad()
def restore_zeros(masks: ZeroMasks) -> None:
    """Set the masked weights to zero again."""
    for weight, zero in masks:
        weight.masked_fill_(zero, 0.0)


@torch.no_grad()
def compute_logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a module for all samples `x`. The module is left in evaluation mode."""
    module.eval()
    chunks = torch.split(x, EVALUATION_BATCH)
    return torch.cat([module(chunk.contiguous(memory_format=torch.channels_last)) for chunk in chunks])


def compute_teacher_logits(teacher: nn.Module, task: TrainingTask) -> torch.Tensor:
    """Return the teacher's outputs for every view of every training sample: (views, samples, classes)."""
    return torch.stack([compute_logits(teacher, task.view(task.train_x, k)) for k in range(task.views)])


def measure_accuracy(module: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share (0 to 1) of samples `x` whose largest output belongs to their label."""
    return float((compute_logits(module, x).argmax(1) == labels).double().mean())
