"""Settings of a federation, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StrategyName = Literal["fedavg", "fedprox", "fedavgm", "fedadam"]
CompressionName = Literal["none", "top_k", "int8"]
Weighting = Literal["samples", "uniform"]


@dataclass(frozen=True)
class LocalTraining:
    """Training at a client: SGD with momentum at a constant rate, over all of its samples.

    `proximal` is μ of FedProx: the gradient gets μ · (weights − global weights). 0 is plain SGD.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0


@dataclass(frozen=True)
class ServerStep:
    """The server's optimizer. `momentum` is β of FedAvgM and β₁ of FedAdam; `second_moment` and `adaptivity` are its
    β₂ and τ."""

    strategy: StrategyName = "fedavg"
    learning_rate: float = 1.0
    momentum: float = 0.9
    second_moment: float = 0.99
    adaptivity: float = 1e-3


@dataclass(frozen=True)
class Compression:
    """The encoding of updates. `share` is the part of the entries that top-k keeps."""

    name: CompressionName = "none"
    share: float = 0.01


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of clients by the server: updates are clipped to a norm, and Gaussian noise is added.

    `noise` is the standard deviation of the noise on the sum of updates, in units of the norm.
    """

    norm: float
    noise: float
    delta: float


@dataclass(frozen=True)
class Settings:
    """Settings of a federation.

    Attributes:
        rounds: rounds of the server.
        fraction: share of the clients that the server asks in a round. With privacy, each client is asked with this
            probability.
        weighting: weight of a client's update: its number of samples, or the same for all.
        dropped, late: probabilities that an asked client gives no answer, or answers after the end of the round.
        evaluate_every: rounds between two measurements of the global model. The last round is always measured.
        average_rounds: the result is the mean of the global models after this many last rounds. 1 is the last model.
            The history has the quality of the model after each round, not that of the mean.
    """

    rounds: int
    local: LocalTraining
    fraction: float = 1.0
    step: ServerStep = ServerStep()
    weighting: Weighting = "samples"
    dropped: float = 0.0
    late: float = 0.0
    compression: Compression = Compression()
    privacy: Privacy | None = None
    evaluate_every: int = 1
    average_rounds: int = 1
    seed: int = 0
    threads: int = 1
