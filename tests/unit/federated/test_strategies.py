"""The server's steps against the formulas of their papers, written a second time for one parameter after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeproof.federated import strategies
from edgeproof.federated.settings import ServerStep

RANDOM = np.random.default_rng(0)
START = RANDOM.standard_normal(7).astype(np.float32)
DIFFERENCES = RANDOM.standard_normal((4, 7))


def run(step: ServerStep) -> np.ndarray:
    parameters, moments = START, strategies.make_moments(step, len(START))
    for difference in DIFFERENCES:
        parameters, moments = strategies.move(step, parameters, difference, moments)
    assert parameters.dtype == np.float32
    return parameters


@pytest.mark.parametrize("name", ["fedavg", "fedprox"])
def test_fedavg_adds_the_mean_difference(name: str) -> None:
    np.testing.assert_allclose(run(ServerStep(name)), START + DIFFERENCES.sum(0), rtol=1e-6)  # type: ignore[arg-type]


def test_fedavgm_is_the_formula_of_hsu_2019() -> None:
    # v ← β v + Δw and w ← w − v, where Δw is the weighted mean of w − w_k.
    expected = []
    for column, weight in enumerate(START.astype(float)):
        velocity = 0.0
        for round_differences in DIFFERENCES:
            velocity = 0.9 * velocity + -round_differences[column]
            weight = weight - velocity
        expected.append(weight)
    np.testing.assert_allclose(run(ServerStep("fedavgm", 1.0, 0.9)), expected, rtol=1e-5, atol=1e-6)


def test_fedadam_is_algorithm_2_of_reddi_2021() -> None:
    eta, beta_1, beta_2, tau = 0.03, 0.8, 0.95, 1e-2
    expected = []
    for column, weight in enumerate(START.astype(float)):
        m, v = 0.0, tau**2
        for round_differences in DIFFERENCES:
            delta = float(round_differences[column])
            m = beta_1 * m + (1 - beta_1) * delta
            v = beta_2 * v + (1 - beta_2) * delta * delta
            weight = weight + eta * m / (math.sqrt(v) + tau)
        expected.append(weight)
    np.testing.assert_allclose(run(ServerStep("fedadam", eta, beta_1, beta_2, tau)), expected, rtol=1e-5, atol=1e-6)
