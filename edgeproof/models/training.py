"""Train a torch module: the recipe, and one loop that every method uses.

The optimizer is SGD with Nesterov momentum or AdamW, each with a one-cycle schedule. Results are identical to the bit
for the same seed and the same number of threads. Another number of threads adds floating-point numbers in another
order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.strided_convolutions import replace_strided_convolutions
from edgeproof.models.training_task import Loss, TrainingTask, count_steps, draw_batches, measure_quality
from edgeproof.models.weight_masks import find_zeros, restore_zeros
from edgeproof.progress import Progress

# The share of all steps in which the learning rate rises. It is slightly above 0.2, because OneCycleLR divides by the
# number of rising steps minus one, which would be zero for five steps.
WARMUP_SHARE = 0.2 + 1e-9
# The decay rate β₂ of AdamW's second moment: Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (2019).
SECOND_MOMENT_DECAY = 0.999


class Recipe(BaseModel):
    """Options that all methods with a training loop share."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: NonNegativeInt = Field(description="passes over the training split; 0 keeps the weights as they are")
    batch_size: PositiveInt = Field(description="samples in one step")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with Nesterov momentum, or AdamW")
    learning_rate: PositiveFloat = Field(description="peak of the one-cycle schedule")
    momentum: float = Field(ge=0, lt=1, description="momentum of SGD, and the first moment's decay rate of AdamW")
    weight_decay: NonNegativeFloat


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that have their own learning rate (the peak of its schedule) and no weight decay."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float


def make_deterministic(seed: int, threads: int) -> None:
    """Make all following torch operations reproducible to the bit for this seed and number of threads."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # This has the same effect as use_deterministic_algorithms(True), which imports the compiler and takes 1.5 s.
    torch.set_deterministic_debug_mode("error")


def fit(
    module: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    *,
    loss: Loss | None = None,
    after_step: Callable[[], None] | None = None,
    proximal: Callable[[float], None] | None = None,
    separate_group: ParameterGroup | None = None,
    keep_zeros: bool = False,
) -> nn.Module:
    """Train `module` in place and return it in evaluation mode. Without a `loss`, the task's own is minimized.

    An epoch sees each sample at most once, in a random view. After each step of the optimizer, `proximal` is called
    with the learning rate of that step, then `after_step`. Weights that are zero at the start stay zero if `keep_zeros`
    is set or the module comes from a parent, so pruned weights stay pruned. A zero in a random initialization is free
    to change. Raises ConfigError when training diverges.
    """
    if recipe.epochs == 0:
        return module.eval()
    loss = loss or task.loss
    zeros = find_zeros(module) if keep_zeros or task.from_parent else []
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(task.seed)
    total_steps = recipe.epochs * count_steps(task, recipe.batch_size)
    optimizer, schedule = _build_optimizer(module, recipe, separate_group, total_steps)
    with Progress("training", total_steps) as progress, replace_strided_convolutions(module):
        for epoch in range(1, recipe.epochs + 1):
            module.train()
            for batch in draw_batches(task, recipe.batch_size, generator):
                value = loss(module(*batch.inputs), batch)
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
            _refuse_diverged(module, recipe, epoch)
            quality = task.metric.format(measure_quality(module, task, task.validation))
            progress.note(f"epoch {epoch}/{recipe.epochs}: validation {task.metric.label} {quality}")
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
    rate, momentum, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, rate, betas=(momentum, SECOND_MOMENT_DECAY), weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(groups, rate, momentum, weight_decay=decay, nesterov=momentum > 0)
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
