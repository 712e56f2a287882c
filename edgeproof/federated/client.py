"""One client: train the global weights on its own samples, and answer with an encoded update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.federated.errors import MessageError
from edgeproof.federated.messages import Update, decode_update, decode_weights, encode_update
from edgeproof.federated.seeds import Purpose, derive_seed
from edgeproof.federated.settings import LocalTraining, Settings
from edgeproof.federated.weights import Layout
from edgeproof.models.strided_convolutions import replace_strided_convolutions
from edgeproof.models.training_task import Batch, TrainingTask, build_batch, order_channels_last
from edgeproof.models.weight_masks import find_zeros, restore_zeros

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClientJob:
    """Everything that a client needs for one round.

    Attributes:
        task: the task, whose training split holds the samples of this client alone.
        weights: the server's message.
        residual: what top-k has not sent yet (error feedback), or None at the beginning.
    """

    client: int
    round_number: int
    task: TrainingTask
    weights: bytes
    residual: Array | None = None


@dataclass(frozen=True)
class ClientResult:
    """A client's message, and the residual that it keeps for its next round (top-k only)."""

    message: bytes
    residual: Array | None


def train_client(module: nn.Module, job: ClientJob, settings: Settings) -> ClientResult:
    """Train `module`, whose weights are replaced, on the client's samples and return its result.

    The result depends on the job and the settings alone, to the bit, in any process.
    """
    seed = derive_seed(settings.seed, Purpose.TRAINING, job.round_number, job.client)
    torch.manual_seed(seed)
    torch.set_num_threads(settings.threads)
    torch.set_deterministic_debug_mode("error")
    layout = Layout.read(module)
    start = decode_weights(job.weights, layout)
    layout.load(start, module)
    with replace_strided_convolutions(module):
        _train(module, job.task, settings.local, torch.Generator().manual_seed(seed))
    trained = layout.extract(module)
    difference = trained.parameters - start.parameters
    if settings.compression.name == "top_k" and job.residual is not None:
        difference = difference + job.residual
    update = Update(difference, trained.statistics, len(job.task.train))
    message = encode_update(update, settings.compression, layout)
    return ClientResult(
        message, _find_residual(update, message, layout) if settings.compression.name == "top_k" else None
    )


def _find_residual(update: Update, message: bytes, layout: Layout) -> Array | None:
    """Return the part of the update that the message leaves out. A client whose training diverged forgets it."""
    try:
        return update.difference - decode_update(message, layout).difference
    except MessageError:
        return None


def _train(module: nn.Module, task: TrainingTask, local: LocalTraining, generator: torch.Generator) -> None:
    """Minimize the task's loss by SGD with momentum. Weights of zero in a model with a parent stay zero.

    In contrast to models.training.fit(), the rate is constant and every sample is used, because a client may have few.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.train()
    parameters = [p for p in module.parameters() if p.requires_grad]
    anchors = [p.detach().clone() for p in parameters] if local.proximal else []
    zeros = find_zeros(module) if task.from_parent else []
    optimizer = torch.optim.SGD(parameters, local.learning_rate, local.momentum, weight_decay=local.weight_decay)
    for _ in range(local.epochs):
        order = torch.randperm(len(task.train), generator=generator)
        views = torch.randint(task.views, (len(order),), generator=generator)
        for rows in _split_epoch(len(order), local.batch_size):
            batch = build_batch(task, order[rows], views[rows])
            if task.augment is not None:
                inputs, targets = task.augment(batch.inputs, batch.targets, generator)
                batch = Batch(order_channels_last(inputs), targets, batch.samples, batch.views)
            value = task.loss(module(*batch.inputs), batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            for parameter, anchor in zip(parameters, anchors, strict=False):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - anchor, alpha=local.proximal)
            optimizer.step()
            restore_zeros(zeros)


def _split_epoch(samples: int, batch_size: int) -> list[slice]:
    """Return the batches of an epoch. A last batch of one sample is joined: batch normalization needs two."""
    starts = list(range(0, samples, batch_size))
    if len(starts) > 1 and samples - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], samples], strict=True)]
