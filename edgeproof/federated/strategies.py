"""The server's step: how a mean update Δ changes the global parameters x.

    fedavg, fedprox   x ← x + η Δ            McMahan et al. (2017); Li et al. (2020): the proximal term is at the client
    fedavgm           v ← β v + Δ,  x ← x + η v                                Hsu, Qi, Brown (2019)
    fedadam           m ← β₁ m + (1 − β₁) Δ,  v ← β₂ v + (1 − β₂) Δ²,  x ← x + η m / (√v + τ)
                      with m₀ = 0 and v₀ = τ²                                  Reddi et al. (2021), algorithm 2

Everything is computed in float64; parameters are stored in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.federated.settings import ServerStep

Array = np.ndarray[Any, Any]
# What a strategy keeps between rounds, by name.
Moments = dict[str, Array]


def make_moments(step: ServerStep, parameters: int) -> Moments:
    """Return the moments before the first round."""
    if step.strategy == "fedavgm":
        return {"velocity": np.zeros(parameters)}
    if step.strategy == "fedadam":
        return {"first": np.zeros(parameters), "second": np.full(parameters, step.adaptivity**2)}
    return {}


def move(step: ServerStep, parameters: Array, difference: Array, moments: Moments) -> tuple[Array, Moments]:
    """Return the new parameters and moments after the mean update `difference`."""
    if step.strategy == "fedavgm":
        moments = {"velocity": step.momentum * moments["velocity"] + difference}
        direction = moments["velocity"]
    elif step.strategy == "fedadam":
        first = step.momentum * moments["first"] + (1 - step.momentum) * difference
        second = step.second_moment * moments["second"] + (1 - step.second_moment) * difference**2
        moments = {"first": first, "second": second}
        direction = first / (np.sqrt(second) + step.adaptivity)
    else:
        direction = difference
    moved = parameters.astype(np.float64) + step.learning_rate * direction
    return moved.astype(np.float32), moments
