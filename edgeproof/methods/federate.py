"""Federated learning: samples stay at the clients, which train; the server averages their updates.

McMahan et al.: "Communication-Efficient Learning of Deep Networks from Decentralized Data" (2017). The clients are
simulated. Rounds, messages and privacy are in edgeproof/federated. The global model is a model like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import nn

from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError
from edgeproof.federated import client_quality, partitions, privacy, workers
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.history import Round, list_curve, sum_rounds
from edgeproof.federated.partitions import Shares
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.federated.seeds import Purpose, make_generator
from edgeproof.federated.settings import (
    Compression,
    CompressionName,
    LocalTraining,
    Privacy,
    ServerStep,
    Settings,
    StrategyName,
    Weighting,
)
from edgeproof.federated.weights import Layout
from edgeproof.models import training_task
from edgeproof.models.training_task import TrainingTask
from edgeproof.paths import WORK
from edgeproof.progress import Progress

STATES = WORK / "federated"
FACTS = "federated"

Partition = Literal["iid", "dirichlet", "labels", "group"]


class Options(BaseModel):
    """Options of the method, set in conf/methods/federate.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    clients: PositiveInt = Field(description="clients that hold the training samples")
    rounds: PositiveInt = Field(description="rounds of the server")
    local_epochs: PositiveInt = Field(description="passes of a client over its samples in a round")
    batch_size: PositiveInt = Field(description="samples in one step of a client")
    learning_rate: PositiveFloat = Field(description="constant rate of a client's SGD")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of a client's SGD, which starts anew in each round")
    weight_decay: NonNegativeFloat = 0.0
    fraction: float = Field(1.0, gt=0, le=1, description="share of the clients that the server asks in a round")
    partition: Partition = Field(
        "iid", description="iid, dirichlet (alpha), labels (labels_per_client), or group: whole persons or speakers"
    )
    alpha: PositiveFloat = Field(0.5, description="dirichlet: small values give clients with few labels")
    labels_per_client: PositiveInt = Field(2, description="labels: number of labels that a client has")
    strategy: StrategyName = Field("fedavg", description="fedavg, fedprox (proximal), fedavgm or fedadam")
    proximal: NonNegativeFloat = Field(0.01, description="fedprox: weight of the distance to the global model")
    server_learning_rate: PositiveFloat = Field(1.0, description="step of the server; fedadam needs about 0.01")
    server_momentum: float = Field(0.9, ge=0, lt=1, description="fedavgm, and the first moment's decay rate of fedadam")
    second_moment: float = Field(0.99, ge=0, lt=1, description="fedadam: decay rate of the second moment")
    adaptivity: PositiveFloat = Field(1e-3, description="fedadam: added to the root of the second moment")
    weighting: Weighting = Field("samples", description="weight of a client: samples, or uniform")
    dropped: float = Field(0.0, ge=0, le=1, description="probability that an asked client gives no answer")
    late: float = Field(0.0, ge=0, le=1, description="probability that an answer comes after the round and is not used")
    compression: CompressionName = Field("none", description="of updates: none, int8, or top_k with error feedback")
    top_share: float = Field(0.01, gt=0, le=1, description="top_k: share of the entries of an update that is sent")
    clip_norm: PositiveFloat | None = Field(None, description="norm of updates for differential privacy; none: without")
    noise: NonNegativeFloat = Field(
        1.0, description="privacy: deviation of the noise on the sum, in units of clip_norm"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="privacy: delta at which epsilon is reported")
    held_back: float = Field(0.1, ge=0, lt=1, description="share of each client's samples that measures, not trains")
    evaluate_every: PositiveInt = Field(1, description="rounds between two measurements on the validation split")
    average_rounds: PositiveInt = Field(1, description="the result is the mean of the models of this many last rounds")

    @model_validator(mode="after")
    def check_average(self) -> Options:
        """Check that there are enough rounds to average."""
        if self.average_rounds > self.rounds:
            raise ValueError(f"average_rounds is {self.average_rounds}, but there are only {self.rounds} rounds")
        return self

    @model_validator(mode="after")
    def check_privacy(self) -> Options:
        """Check what differential privacy needs."""
        if self.clip_norm is not None and self.weighting != "uniform":
            raise ValueError("clip_norm needs weighting: uniform, because a client's number of samples is not bounded")
        if self.clip_norm is not None and self.noise == 0:
            raise ValueError("clip_norm needs noise above 0, because epsilon is infinite without noise")
        return self


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Train `model` in rounds at simulated clients, and report rounds, bytes and the quality at the clients.

    A run that was killed goes on after its last finished round. Raises ConfigError for a partition that leaves a client
    without samples, and if no update was used in any round.
    """
    chosen = Options.model_validate(options)
    federation, held_back = make_federation(model, task, chosen)
    settings = federation.settings
    if settings.privacy is not None:
        privacy.check_accountant()
    checkpoints = Checkpoints(STATES / hash_start(model, task, chosen))
    history = _run(federation, checkpoints)
    quality = client_quality.measure_clients(model, task, held_back)
    task.report(FACTS, _describe(chosen, settings, history, quality))
    checkpoints.remove()
    return model


def make_federation(model: nn.Module, task: TrainingTask, options: Options) -> tuple[Federation, Shares]:
    """Return the federation of the options, and the samples of each client that are held back to measure with."""
    shares, held_back = client_quality.hold_back(
        draw_shares(options, task), options.held_back, make_generator(task.seed, Purpose.PARTITION, 1)
    )
    return Federation(model, task, shares, make_settings(options, task.seed, task.threads)), held_back


def make_settings(options: Options, seed: int, threads: int) -> Settings:
    """Return the settings of the engine for the options."""
    is_private = options.clip_norm is not None
    return Settings(
        rounds=options.rounds,
        local=LocalTraining(
            epochs=options.local_epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
            proximal=options.proximal if options.strategy == "fedprox" else 0.0,
        ),
        fraction=options.fraction,
        step=ServerStep(
            options.strategy,
            options.server_learning_rate,
            options.server_momentum,
            options.second_moment,
            options.adaptivity,
        ),
        weighting=options.weighting,
        dropped=options.dropped,
        late=options.late,
        compression=Compression(options.compression, options.top_share),
        privacy=Privacy(options.clip_norm, options.noise, options.delta) if is_private and options.clip_norm else None,
        evaluate_every=options.evaluate_every,
        average_rounds=options.average_rounds,
        seed=seed,
        threads=threads,
    )


def draw_shares(options: Options, task: TrainingTask) -> Shares:
    """Return the training rows of each client. Raises ConfigError if the task does not fit the partition."""
    generator = make_generator(task.seed, Purpose.PARTITION)
    if options.partition == "group":
        if task.groups is None:
            raise ConfigError(
                f"partition: group needs to know whose samples they are, and task '{task.name}' does not say. Use iid, "
                "dirichlet or labels, or a task with groups, such as activity or keyword_spotting."
            )
        return partitions.split_by_group(task.groups, options.clients, generator)
    if options.partition == "iid":
        return partitions.split_iid(len(task.train), options.clients, generator)
    if not task.is_classification:
        raise ConfigError(
            f"partition: {options.partition} needs labels, and task '{task.name}' is no classification. Use iid."
        )
    labels = task.train.targets.numpy()
    if options.partition == "dirichlet":
        return partitions.split_dirichlet(labels, options.clients, options.alpha, generator)
    return partitions.split_by_label(labels, options.clients, options.labels_per_client, generator)


def hash_start(model: nn.Module, task: TrainingTask, options: Options) -> str:
    """Return a hash of all that the result depends on. It names the directory of the state of a run."""
    digest = hashlib.sha256(f"{options.model_dump_json()} {task.seed} {task.threads} {torch.__version__}".encode())
    sources = [*Path(partitions.__file__).parent.glob("*.py"), *Path(training_task.__file__).parent.glob("*.py")]
    if task.network is not None:
        sources.append(plugins.find_source("networks", task.network["name"]))
    for source in sorted(sources):
        digest.update(source.read_bytes())
    weights = Layout.read(model).extract(model)
    splits = [array.numpy() for split in (task.train, task.validation) for array in (*split.inputs, split.targets)]
    for array in (weights.parameters, weights.statistics, *splits):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _run(federation: Federation, checkpoints: Checkpoints) -> tuple[Round, ...]:
    """Run the rounds with a progress bar over the clients of all rounds."""
    settings, metric = federation.settings, federation.task.metric
    answers = settings.rounds * settings.fraction * len(federation.shares) * (1 - settings.dropped)
    with (
        Progress("clients", max(1, round(answers))) as progress,
        workers.open_workers(progress.note) as run_clients,
    ):

        def report_round(entry: Round) -> None:
            quality = "" if entry.quality is None else f": validation {metric.label} {metric.format(entry.quality)}"
            missing = {"dropped": entry.dropped, "late": entry.late, "rejected": entry.rejected}
            counts = "".join(f", {count} {name}" for name, count in missing.items() if count)
            progress.note(
                f"round {entry.number}/{settings.rounds}{quality}, {entry.used} of {entry.asked} used{counts}"
            )
            for reason in entry.reasons:
                progress.note(f"  rejected {reason}")

        return run_rounds(
            federation,
            run_clients,
            checkpoints,
            after_client=progress.advance,
            after_round=report_round,
        )


def _describe(
    options: Options,
    settings: Settings,
    history: tuple[Round, ...],
    quality: client_quality.ClientQuality | None,
) -> Mapping[str, Any]:
    """Return the facts for meta.json."""
    facts: dict[str, Any] = {"clients": options.clients, **sum_rounds(history), "curve": list_curve(history)}
    facts["rejections"] = [f"round {entry.number}, {reason}" for entry in history for reason in entry.reasons][:20]
    if quality is not None:
        facts["measured_clients"] = quality.clients
        facts["client_quality_mean"] = quality.mean
        facts["client_quality_worst_tenth"] = quality.worst_tenth
    if settings.privacy is not None:
        facts["epsilon"] = privacy.compute_epsilon(settings.privacy, settings.fraction, settings.rounds)
        facts["delta"] = settings.privacy.delta
    return facts
