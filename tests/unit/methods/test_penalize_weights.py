"""The method penalize_weights: its proximal step, and the lasso of scikit-learn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import penalize_weights
from edgeproof.models.training_task import TrainingTask
from tests.support.method_inputs import RECIPE, list_weights, make_task
from tests.support.training_tasks import make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

PENALTY = {"penalty": 0.05, "penalty_epochs": 3}
DEAD_NETWORK = r"no longer depends on its input.*no weight is left in [a-z].*smaller sparsity or penalty"


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-10, 10)), st.floats(0, 5))
def test_soft_threshold_minimizes_distance_plus_penalty(weights: np.ndarray, threshold: float) -> None:
    minimum = penalize_weights.soft_threshold(torch.from_numpy(weights), threshold).numpy()

    def cost(w: np.ndarray) -> np.ndarray:
        return (w - weights) ** 2 / 2 + threshold * np.abs(w)

    for other in [np.zeros_like(weights), weights, *(minimum + step for step in (-0.5, -1e-3, 1e-3, 0.5))]:
        assert (cost(minimum) <= cost(other) + 1e-12).all()
    assert not np.signbit(minimum[minimum == 0]).any()


@pytest.fixture(scope="module")
def regression() -> tuple[TrainingTask, np.ndarray]:
    """Return a softmax regression and the solution of scikit-learn for penalty 0.03 on the mean loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 1, 2, 4)).astype(np.float32)
    labels = (x.reshape(60, 8)[:, :3] + 0.8 * rng.standard_normal((60, 3))).argmax(1)
    solver = LogisticRegression(l1_ratio=1.0, C=1 / (60 * 0.03), solver="saga", tol=1e-6, max_iter=10_000)
    x_tensor, y_tensor = torch.from_numpy(x), torch.from_numpy(labels)
    task = make_training_task(x_tensor, y_tensor, 3, validation_samples=1)
    return task, solver.fit(x.reshape(60, 8), labels).coef_


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_training_converges_to_the_lasso_of_scikit_learn(
    momentum: float, regression: tuple[TrainingTask, np.ndarray]
) -> None:
    task, theirs = regression
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    # One batch is the whole data set: the gradient has no noise, and training reaches the optimum.
    recipe = {"epochs": 0, "batch_size": 60, "learning_rate": 2 * (1 - momentum), "weight_decay": 0.0}
    penalize_weights.apply(module, task, **recipe, momentum=momentum, penalty=0.03, penalty_epochs=400)
    assert 0 < np.count_nonzero(theirs) < 20
    np.testing.assert_allclose(module[1].weight.detach(), theirs, atol=2e-3)
    np.testing.assert_array_equal(module[1].weight.detach().numpy() == 0, theirs == 0)


def test_zeros_of_the_penalty_are_held_while_other_weights_are_fine_tuned(module: nn.Module) -> None:
    shrunk = copy.deepcopy(module)
    penalize_weights.apply(shrunk, make_task(), **RECIPE | {"epochs": 0} | PENALTY)
    penalize_weights.apply(module, make_task(), **RECIPE | {"epochs": 3} | PENALTY)
    zeros = [w == 0 for w in list_weights(shrunk)]
    assert 0.02 < np.mean([float(zero.double().mean()) for zero in zeros]) < 0.98
    for weight, other, zero in zip(list_weights(module), list_weights(shrunk), zeros, strict=True):
        assert torch.equal(weight == 0, zero)
        assert zero.all() or not torch.equal(weight, other)


def test_a_larger_penalty_leaves_fewer_weights(module: nn.Module) -> None:
    shares = []
    for penalty in (1e-3, 1e-2, 5e-2):
        pruned = copy.deepcopy(module)
        penalize_weights.apply(pruned, make_task(), **RECIPE, penalty=penalty, penalty_epochs=3)
        shares.append(float(torch.cat([w.flatten() for w in list_weights(pruned)]).ne(0).double().mean()))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]


def test_a_penalty_that_leaves_a_dead_network_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=DEAD_NETWORK):
        penalize_weights.apply(module, make_task(), **RECIPE | PENALTY | {"penalty": 100.0})


@pytest.mark.parametrize(
    "wrong",
    [
        PENALTY | {"penalty": 0.0},
        PENALTY | {"penalty_epochs": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        penalize_weights.Options.model_validate(RECIPE | wrong)
