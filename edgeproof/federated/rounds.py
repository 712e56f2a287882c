"""The rounds of a federation: send the weights, collect updates, let the server step, save, and measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.federated import strategies
from edgeproof.federated.aggregation import UpdateSum
from edgeproof.federated.checkpoints import Checkpoints, State
from edgeproof.federated.client import ClientJob, ClientResult
from edgeproof.federated.errors import MessageError
from edgeproof.federated.history import SHOWN_REJECTIONS, Round
from edgeproof.federated.messages import Update, decode_update, encode_weights
from edgeproof.federated.participation import Participation, draw_participation
from edgeproof.federated.partitions import Shares
from edgeproof.federated.privacy import average_privately, clip
from edgeproof.federated.settings import Settings
from edgeproof.federated.weights import Layout, Weights, add_weights, average_weights
from edgeproof.federated.workers import RunClients
from edgeproof.models.training_task import Array, TrainingTask, measure_quality


@dataclass(frozen=True)
class Federation:
    """A start model, a task, and the training rows of each client."""

    module: nn.Module
    task: TrainingTask
    shares: Shares
    settings: Settings


def run_rounds(
    federation: Federation,
    run_clients: RunClients,
    checkpoints: Checkpoints,
    *,
    after_client: Callable[[], None] = lambda: None,
    after_round: Callable[[Round], None] = lambda entry: None,
) -> tuple[Round, ...]:
    """Run the rounds that are not finished yet, and leave the resulting weights in `federation.module`.

    Return the history of all rounds. Raises ConfigError if no update was used in any round.
    """
    module, settings = federation.module, federation.settings
    layout = Layout.read(module)
    check_federation(federation, layout)
    zeros = _find_zeros(federation, layout)
    start = layout.extract(module)
    moments = strategies.make_moments(settings.step, layout.parameter_count)
    state = checkpoints.load() or State(start, moments, ())
    for number in range(len(state.rounds) + 1, settings.rounds + 1):
        participation = draw_participation(settings, len(federation.shares), number)
        message = encode_weights(state.weights)
        collected = _Collected(UpdateSum(layout))
        jobs = _list_jobs(federation, participation, number, message, checkpoints)
        for client, result in zip(participation.answering, run_clients(module, jobs, settings), strict=True):
            collected.add(client, result, layout, settings, is_late=client in participation.late)
            if settings.compression.name == "top_k" and result is not None:
                checkpoints.save_residual(client, number, result.residual)
            after_client()
        weights, moments = _step(federation, state, collected.total, number)
        weights.parameters[zeros] = 0.0
        layout.load(weights, module)
        entry = _describe_round(federation, participation, collected, number, len(message))
        is_averaged = number > settings.rounds - settings.average_rounds
        total = add_weights(state.total, weights) if is_averaged else None
        state = State(weights, moments, (*state.rounds, entry), total)
        checkpoints.save(state, participation.answering)
        after_round(entry)
    assert state.total is not None
    layout.load(average_weights(state.total, settings.average_rounds), module)
    module.eval()
    _refuse_unused(state.rounds)
    return state.rounds


class _Collected:
    """Messages that the server received in one round."""

    def __init__(self, total: UpdateSum) -> None:
        self.total = total
        self.bytes_up = 0
        self.rejected = 0
        self.missing = 0
        self.reasons: list[str] = []

    def add(
        self, client: int, result: ClientResult | None, layout: Layout, settings: Settings, *, is_late: bool
    ) -> None:
        """Count a message, and add its update to the sum unless it is late or unusable. None is a lost client."""
        if result is None:
            self.missing += 1
            return
        self.bytes_up += len(result.message)
        if is_late:
            return
        try:
            update: Update = decode_update(result.message, layout)
        except MessageError as error:
            self.rejected += 1
            if len(self.reasons) < SHOWN_REJECTIONS:
                self.reasons.append(f"client {client}: {error}")
            return
        if settings.privacy is not None:
            update = clip(update, settings.privacy.norm)
        self.total.add(update, settings.weighting)


def check_federation(federation: Federation, layout: Layout) -> None:
    """Raise ConfigError for a client without samples, too few rounds, and a network that does not fit the settings."""
    empty = [client for client, share in enumerate(federation.shares) if not len(share)]
    if empty:
        raise ConfigError(f"client {empty[0]} has no training sample. Lower clients.")
    settings = federation.settings
    if not 1 <= settings.average_rounds <= settings.rounds:
        raise ConfigError(f"average_rounds is {settings.average_rounds}, but there are {settings.rounds} rounds.")
    has_normalization = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in federation.module.modules())
    single = [client for client, share in enumerate(federation.shares) if len(share) == 1]
    if has_normalization and single:
        raise ConfigError(
            f"client {single[0]} has one training sample, and batch normalization needs two. Lower clients, or choose "
            "a network without it, such as cnn2."
        )
    if settings.privacy is not None:
        if layout.statistic_count:
            raise ConfigError(
                "privacy covers trained weights only, and this network has statistics of batch normalization too. "
                "Choose a network without them, such as cnn2."
            )
        if settings.weighting != "uniform":
            raise ConfigError("privacy needs weighting: uniform, because a client's number of samples is not bounded.")


def _list_jobs(
    federation: Federation, participation: Participation, number: int, message: bytes, checkpoints: Checkpoints
) -> Iterator[ClientJob]:
    """Yield the jobs of a round one at a time, each with the samples of its client."""
    is_top_k = federation.settings.compression.name == "top_k"
    for client in participation.answering:
        residual = checkpoints.load_residual(client) if is_top_k else None
        yield make_job(federation, client, number, message, residual)


def make_job(
    federation: Federation, client: int, number: int, message: bytes, residual: Array | None = None
) -> ClientJob:
    """Return the job of one client in a round. It holds that client's samples alone."""
    task = federation.task
    own = replace(
        task,
        train=task.train.select(torch.from_numpy(federation.shares[client])),
        validation=task.validation.select(slice(0, 0)),
        groups=None,
        measure=_refuse_to_measure,
        report=_refuse_to_report,
    )
    return ClientJob(client, number, own, message, residual)


def _refuse_to_measure(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> float:
    raise NotImplementedError("a client trains only; the server measures")


def _refuse_to_report(name: str, facts: Mapping[str, Any]) -> None:
    raise NotImplementedError("a client trains only; the server reports")


def _step(federation: Federation, state: State, total: UpdateSum, number: int) -> tuple[Weights, strategies.Moments]:
    """Return the weights and moments after a round. Without an update they stay, unless noise must hide that."""
    settings, weights = federation.settings, state.weights
    if settings.privacy is not None:
        difference = average_privately(total.difference, settings.privacy, settings, len(federation.shares), number)
    elif total.count:
        difference = total.average_difference()
    else:
        return Weights(weights.parameters.copy(), weights.statistics.copy()), state.moments
    parameters, moments = strategies.move(settings.step, weights.parameters, difference, state.moments)
    statistics = total.average_statistics() if total.count else weights.statistics
    return Weights(parameters, statistics.astype(np.float32)), moments


def _describe_round(
    federation: Federation, participation: Participation, collected: _Collected, number: int, message_bytes: int
) -> Round:
    settings, task = federation.settings, federation.task
    is_measured = number == settings.rounds or number % settings.evaluate_every == 0
    return Round(
        number=number,
        asked=len(participation.asked),
        used=collected.total.count,
        dropped=len(participation.dropped) + collected.missing,
        late=len(participation.late),
        rejected=collected.rejected,
        reasons=tuple(collected.reasons),
        bytes_up=collected.bytes_up,
        bytes_down=message_bytes * len(participation.asked),
        quality=measure_quality(federation.module, task, task.validation) if is_measured else None,
    )


def _find_zeros(federation: Federation, layout: Layout) -> Any:
    """Return which parameters stay zero: those of weight tensors that a parent pruned."""
    values = layout.extract(federation.module).parameters
    is_weight = np.repeat([len(shape) > 1 for _, shape in layout.parameters], layout.sizes)
    return (values == 0) & is_weight & federation.task.from_parent


def _refuse_unused(rounds: tuple[Round, ...]) -> None:
    if any(entry.used for entry in rounds):
        return
    reasons = [reason for entry in rounds for reason in entry.reasons]
    if reasons:
        raise ConfigError(
            f"no update was used in {len(rounds)} rounds, because all were rejected. The first: {reasons[0]}. Lower "
            "learning_rate."
        )
    raise ConfigError(
        f"no client answered in time in any of {len(rounds)} rounds. Lower dropped or late, or raise rounds."
    )
