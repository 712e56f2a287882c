"""Train a Keras network from its random initialization, with Keras' own optimizer and compiled step.

The batches, their order and their views are those that `train` takes, so that the two differ in the framework alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from edgeproof.models.training import WARMUP_SHARE, Recipe, TrainingTask
from edgeproof.progress import Progress

FRAMEWORK = "keras"
STARTING_SHARE = 0.04  # of the peak rate, as in torch's one-cycle schedule


class Options(Recipe):
    """What conf/methods/train_keras.yaml may set."""


def apply(model: Any, task: TrainingTask, **options: object) -> Any:
    """Minimize the cross-entropy of `model` (images (N, H, W, C) to logits): SGD, a rising then a falling rate.

    Keras decays weights by rate × decay × weight beside the gradient's step, not through its momentum.
    """
    import keras

    chosen = Options.model_validate(options)
    if chosen.epochs == 0:
        return model
    size = min(chosen.batch_size, len(task.train_x))
    steps = chosen.epochs * (len(task.train_x) // size)
    rising = int(WARMUP_SHARE * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        STARTING_SHARE * chosen.learning_rate,
        steps - rising,
        warmup_target=chosen.learning_rate,
        warmup_steps=rising,
    )
    momentum, decay = chosen.momentum, chosen.weight_decay
    optimizer = keras.optimizers.SGD(rate, momentum, nesterov=momentum > 0, weight_decay=decay)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with Progress("training", steps) as progress:
        for x, labels in _batches(task, chosen.epochs, size):
            model.train_on_batch(torch.movedim(x, 1, -1).contiguous().numpy(), labels.numpy())
            progress.advance()
    return model


def _batches(task: TrainingTask, epochs: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every step's inputs (N, *input_shape) and labels. No epoch sees a sample twice; views are random."""
    shuffle = torch.Generator().manual_seed(task.seed)
    for _ in range(epochs):
        order = torch.randperm(len(task.train_x), generator=shuffle)
        views = torch.randint(task.views, (len(order),), generator=shuffle)
        for step in range(len(order) // size):
            place = slice(step * size, (step + 1) * size)
            x = task.train_x[order[place]]
            for k in range(1, task.views):
                turned = views[place] == k
                x[turned] = task.view(x[turned], k)
            yield x, task.train_y[order[place]]
