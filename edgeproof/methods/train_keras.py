"""Train a Keras network from random weights, with the optimizer and the compiled training step of Keras.

The batches, their order and their views are the same as in `train`, so only the framework differs.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeproof.models.training import SECOND_MOMENT_DECAY, WARMUP_SHARE, Recipe
from edgeproof.models.training_task import TrainingTask, count_steps, draw_batches
from edgeproof.progress import Progress

FRAMEWORK = "keras"
EPSILON = 1e-8  # of torch's AdamW
INITIAL_RATE_SHARE = 0.04  # first learning rate as a share of the peak, as in torch's OneCycleLR


class Options(Recipe):
    """Options of the method, set in conf/methods/train_keras.yaml."""


def apply(model: Any, task: TrainingTask, **options: object) -> Any:
    """Minimize the cross-entropy of `model`, which maps images (N, H, W, C) to logits.

    The optimizer is SGD or AdamW with a learning rate that rises and then falls. Keras subtracts rate × decay × weight
    apart from the gradient step, so that weight decay has no momentum.
    """
    import keras

    task.require_classification("train_keras")
    chosen = Options.model_validate(options)
    if chosen.epochs == 0:
        return model
    total_steps = chosen.epochs * count_steps(task, chosen.batch_size)
    warmup_steps = int(WARMUP_SHARE * total_steps)
    rate = keras.optimizers.schedules.CosineDecay(
        INITIAL_RATE_SHARE * chosen.learning_rate,
        total_steps - warmup_steps,
        warmup_target=chosen.learning_rate,
        warmup_steps=warmup_steps,
    )
    model.compile(build_optimizer(rate, chosen), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = torch.Generator().manual_seed(task.seed)
    with Progress("training", total_steps) as progress:
        for _ in range(chosen.epochs):
            for batch in draw_batches(task, chosen.batch_size, generator):
                model.train_on_batch(torch.movedim(batch.inputs[0], 1, -1).contiguous().numpy(), batch.targets.numpy())
                progress.advance()
    return model


def build_optimizer(rate: Any, chosen: Options) -> Any:
    """Build the optimizer of a recipe with a learning rate or its schedule."""
    import keras

    momentum, decay = chosen.momentum, chosen.weight_decay
    if chosen.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, decay, beta_1=momentum, beta_2=SECOND_MOMENT_DECAY, epsilon=EPSILON)
    return keras.optimizers.SGD(rate, momentum, nesterov=momentum > 0, weight_decay=decay)
