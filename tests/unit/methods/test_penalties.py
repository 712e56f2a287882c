"""Pruning by penalties: the lasso against scikit-learn's, hard concrete gates against their distribution."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.core.errors import ConfigError
from edgeproof.methods import penalize_weights, prune_l0
from edgeproof.models import training
from edgeproof.models.layers import find_weighted_layers
from edgeproof.models.training import TrainingTask
from edgeproof.networks import resnet8
from tests.unit.methods.test_methods import RECIPE, SHAPE, task_of, weights_of

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

PENALTY = {"penalty": 0.05, "penalty_epochs": 3}
GATES = {"gates": "weight", "penalty": 1e-3, "gate_learning_rate": 100.0, "penalty_epochs": 3}


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    return resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)


# --- L1 ------------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-10, 10)), st.floats(0, 5))
def test_soft_thresholding_minimizes_the_distance_plus_the_penalty(weights: np.ndarray, threshold: float) -> None:
    found = penalize_weights.soft_threshold(torch.from_numpy(weights), threshold).numpy()

    def cost(w: np.ndarray) -> np.ndarray:
        return (w - weights) ** 2 / 2 + threshold * np.abs(w)

    for other in [np.zeros_like(weights), weights, *(found + step for step in (-0.5, -1e-3, 1e-3, 0.5))]:
        assert (cost(found) <= cost(other) + 1e-12).all()
    assert not np.signbit(found[found == 0]).any()


@pytest.fixture(scope="module")
def regression() -> tuple[TrainingTask, np.ndarray]:
    """A softmax regression's data and scikit-learn's solution with the penalty 0.03 on the mean loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 1, 2, 4)).astype(np.float32)
    labels = (x.reshape(60, 8)[:, :3] + 0.8 * rng.standard_normal((60, 3))).argmax(1)
    solver = LogisticRegression(l1_ratio=1.0, C=1 / (60 * 0.03), solver="saga", tol=1e-6, max_iter=10_000)
    given, truth = torch.from_numpy(x), torch.from_numpy(labels)
    task = TrainingTask("task", (1, 2, 4), 3, given, truth, given[:1], truth[:1], 1, lambda batch, k: batch, 0, 1)
    return task, solver.fit(x.reshape(60, 8), labels).coef_


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_training_comes_to_rest_at_scikit_learns_lasso(
    momentum: float, regression: tuple[TrainingTask, np.ndarray]
) -> None:
    task, theirs = regression
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    # One batch is the whole data set, so that the gradient has no noise and the optimum is reached.
    recipe = {"epochs": 0, "batch_size": 60, "learning_rate": 2 * (1 - momentum), "weight_decay": 0.0}
    penalize_weights.apply(module, task, **recipe, momentum=momentum, penalty=0.03, penalty_epochs=400)
    assert 0 < np.count_nonzero(theirs) < 20
    np.testing.assert_allclose(module[1].weight.detach(), theirs, atol=2e-3)
    np.testing.assert_array_equal(module[1].weight.detach().numpy() == 0, theirs == 0)


def test_the_zeros_that_the_penalty_made_are_held_while_the_rest_grows_back(module: nn.Module) -> None:
    shrunk = copy.deepcopy(module)
    penalize_weights.apply(shrunk, task_of(), **RECIPE | {"epochs": 0} | PENALTY)
    penalize_weights.apply(module, task_of(), **RECIPE | {"epochs": 3} | PENALTY)
    zeros = [w == 0 for w in weights_of(shrunk)]
    assert 0.02 < np.mean([float(zero.double().mean()) for zero in zeros]) < 0.98
    for weight, other, zero in zip(weights_of(module), weights_of(shrunk), zeros, strict=True):
        assert torch.equal(weight == 0, zero)
        assert zero.all() or not torch.equal(weight, other)


def test_a_larger_penalty_leaves_fewer_weights(module: nn.Module) -> None:
    shares = []
    for penalty in (1e-3, 1e-2, 5e-2):
        pruned = copy.deepcopy(module)
        penalize_weights.apply(pruned, task_of(), **RECIPE, penalty=penalty, penalty_epochs=3)
        shares.append(float(torch.cat([w.flatten() for w in weights_of(pruned)]).ne(0).double().mean()))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]


# --- the hard concrete distribution --------------------------------------------------------------------------------

log_alphas = st.floats(-6, 6)
STRETCH = 1.1 - -0.1


def drawn_by_hand(log_alpha: float, u: np.ndarray) -> np.ndarray:
    """Equations 10 and 11 of the paper, in its own symbols."""
    s = scipy.special.expit((np.log(u) - np.log(1 - u) + log_alpha) / (2 / 3))
    return np.minimum(1, np.maximum(0, s * STRETCH - 0.1))


@given(log_alphas)
def test_draws_are_the_papers_function_of_uniform_noise(log_alpha: float) -> None:
    u = np.linspace(1e-5, 1 - 1e-5, 1001)
    ours = prune_l0.sample_gates(torch.tensor(log_alpha, dtype=torch.float64), torch.from_numpy(u))
    np.testing.assert_allclose(ours, drawn_by_hand(log_alpha, u), atol=1e-9)


@given(log_alphas)
def test_the_probability_of_a_closed_gate_is_that_of_the_logistic_distribution_below_the_stretched_zero(
    log_alpha: float,
) -> None:
    # z = 0 exactly when σ((x + log α) / β) ≤ −γ / (ζ − γ), with logistic noise x.
    below = 2 / 3 * scipy.special.logit(0.1 / STRETCH) - log_alpha
    probability = float(prune_l0.open_probability(torch.tensor(log_alpha, dtype=torch.float64)))
    assert 1 - probability == pytest.approx(scipy.stats.logistic.cdf(below), rel=1e-9)
    u = (np.arange(100_000) + 0.5) / 100_000
    assert (drawn_by_hand(log_alpha, u) > 0).mean() == pytest.approx(probability, abs=2e-5)


@given(log_alphas)
def test_the_value_in_the_end_is_the_papers(log_alpha: float) -> None:
    by_hand = min(1.0, max(0.0, scipy.special.expit(log_alpha) * STRETCH - 0.1))
    ours = prune_l0.compute_final_gates(torch.tensor(log_alpha, dtype=torch.float64))
    assert float(ours) == pytest.approx(by_hand, abs=1e-12)


@given(log_alphas, st.floats(0.01, 0.99))
def test_gradients_are_those_of_finite_differences(log_alpha: float, u: float) -> None:
    step = 1e-6
    for ours, by_hand in (
        (lambda a: prune_l0.sample_gates(a, torch.tensor(u, dtype=torch.float64)), lambda a: drawn_by_hand(a, np.array(u))),
        (prune_l0.open_probability, lambda a: scipy.special.expit(a - 2 / 3 * np.log(0.1 / 1.1))),
    ):
        parameter = torch.tensor(log_alpha, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(ours(parameter), parameter)
        ends = by_hand(log_alpha - step), by_hand(log_alpha + step)
        if (ends[0] in (0, 1)) == (ends[1] in (0, 1)):  # not at a kink
            assert float(gradient) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), abs=1e-5)


# --- gates ---------------------------------------------------------------------------------------------------------


def gates_of(weight: torch.Tensor, kind: str) -> prune_l0.HardConcreteGates:
    gates = prune_l0.HardConcreteGates(weight, kind, torch.Generator().manual_seed(0))
    with torch.no_grad():
        nn.init.uniform_(gates.log_alpha, -4, 4)
    return gates


@pytest.mark.parametrize(("kind", "shape"), [("weight", (6, 5, 3, 3)), ("channel", (1, 5, 1, 1))])
def test_the_expected_count_of_weights_is_their_mean_count_over_draws(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3)
    weight[:, :, 0] = 0  # pruned before
    gates = gates_of(weight, kind)
    assert gates.log_alpha.shape == shape
    with torch.no_grad():
        counts = [int(gates(weight).count_nonzero()) for _ in range(2000)]
        expected = float(gates.count_expected_weights())
    assert float(np.mean(counts)) == pytest.approx(expected, abs=4 * float(np.std(counts)) / 2000**0.5)
    assert expected < 6 * 5 * 6


def test_gates_are_drawn_anew_in_training_and_fixed_in_evaluation() -> None:
    weight = torch.ones(4, 5)
    gates = gates_of(weight, "weight")
    assert not torch.equal(gates(weight), gates(weight))
    gates.eval()
    assert torch.equal(gates(weight), gates(weight))
    torch.testing.assert_close(gates(weight), prune_l0.compute_final_gates(gates.log_alpha))


def test_gates_start_almost_open() -> None:
    gates = prune_l0.HardConcreteGates(torch.ones(40, 50), "weight", torch.Generator().manual_seed(0))
    assert gates.count_expected_weights().item() / 2000 > 0.97
    assert bool((gates.eval()(torch.ones(40, 50)) > 0.97).all())


@pytest.mark.parametrize("kind", ["weight", "channel"])
def test_in_the_end_every_weight_is_multiplied_by_its_gates_fixed_value(
    kind: str, module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: layer.weight.detach().clone() for name, layer in find_weighted_layers(module).items()}
    values: dict[str, np.ndarray] = {}

    def set_gates(trained: nn.Module, task: Any, recipe: Any, *, apart: Any = None, **_: Any) -> nn.Module:
        for name, layer in find_weighted_layers(trained).items() if apart else ():
            if parametrize.is_parametrized(layer):
                log_alpha = layer.parametrizations.weight[0].log_alpha
                nn.init.uniform_(log_alpha, -4, 4)
                values[name] = scipy.special.expit(log_alpha.detach().double().numpy())
        return trained.eval()

    monkeypatch.setattr(prune_l0, "fit", set_gates)
    prune_l0.apply(module, task_of(), **RECIPE | GATES | {"gates": kind})
    gated = set(before) if kind == "weight" else set(before) - {"stem.0"}  # which reads one channel
    assert set(values) == gated
    for name, layer in find_weighted_layers(module).items():
        gates = np.clip(values[name] * STRETCH - 0.1, 0, 1) if name in values else 1.0
        np.testing.assert_allclose(layer.weight.detach().numpy(), before[name].numpy() * gates, rtol=1e-4, atol=1e-7)
        assert not parametrize.is_parametrized(layer)
        assert not layer.weight[layer.weight == 0].signbit().any()


def test_the_loss_prices_the_expected_weights_and_gates_are_trained_apart(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(trained: nn.Module, task: Any, recipe: Any, *, loss: Any = None, apart: Any = None, **_: Any) -> nn.Module:
        if loss is not None:
            logits = torch.randn(4, 4)
            batch = training.Batch(torch.zeros(4, *SHAPE), torch.arange(4), torch.arange(4), torch.zeros(4))
            plain = nn.functional.cross_entropy(logits, batch.labels).item()
            seen.append((recipe.epochs, loss(logits, batch).item() - plain, apart))
        return trained.eval()

    monkeypatch.setattr(prune_l0, "fit", look)
    count = sum(w.numel() for w in weights_of(module))
    prune_l0.apply(module, task_of(), **RECIPE | GATES | {"penalty_epochs": 5})
    ((epochs, price, apart),) = seen
    open_share = scipy.special.expit(np.log(9) - 2 / 3 * np.log(0.1 / 1.1))
    assert epochs == 5
    assert price == pytest.approx(1e-3 * count * open_share, rel=1e-4)
    assert sum(p.numel() for p in apart.parameters) == count
    assert apart.learning_rate == 100.0


@pytest.mark.parametrize(("kind", "rate", "price"), [("weight", 3000.0, 5e-4), ("channel", 50.0, 2e-4)])
def test_a_higher_price_leaves_fewer_weights_and_their_zeros_are_held(
    kind: str, rate: float, price: float, module: nn.Module
) -> None:
    options = GATES | {"gates": kind, "gate_learning_rate": rate, "penalty_epochs": 6}
    shares = []
    for penalty in (1e-7, price):
        pruned, tuned = copy.deepcopy(module), copy.deepcopy(module)
        prune_l0.apply(pruned, task_of(), **RECIPE | options | {"penalty": penalty, "epochs": 0})
        prune_l0.apply(tuned, task_of(), **RECIPE | options | {"penalty": penalty, "epochs": 2})
        for one, other in zip(weights_of(pruned), weights_of(tuned), strict=True):
            assert torch.equal(one == 0, other == 0)
        shares.append(float(torch.cat([w.flatten() for w in weights_of(pruned)]).ne(0).double().mean()))
    assert shares[1] < shares[0] - 0.1


def test_a_channels_gate_closes_all_that_a_layer_reads_of_it(module: nn.Module) -> None:
    options = GATES | {"gates": "channel", "gate_learning_rate": 50.0, "penalty_epochs": 6, "penalty": 2e-4}
    prune_l0.apply(module, task_of(), **RECIPE | options)
    closed = 0
    for layer in find_weighted_layers(module).values():
        nonzero = (layer.weight != 0).transpose(0, 1).flatten(1)
        assert bool((nonzero.all(1) | ~nonzero.any(1)).all())
        closed += int((~nonzero.any(1)).sum())
    assert closed > 0


# --- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (penalize_weights, PENALTY | {"penalty": 100.0}),
        (prune_l0, GATES | {"penalty": 1.0, "gate_learning_rate": 1e4}),
        (prune_l0, GATES | {"penalty": 1.0, "gates": "channel"}),
    ],
)
def test_a_penalty_that_lets_nothing_through_is_refused(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    with pytest.raises(ConfigError, match=r"no longer depends on its input.*no weight is left in [a-z].*smaller sparsity or penalty"):
        method.apply(module, task_of(), **RECIPE | options)


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (penalize_weights, PENALTY | {"penalty": 0.0}),
        (penalize_weights, PENALTY | {"penalty_epochs": 0}),
        (prune_l0, GATES | {"gates": "layer"}),
        (prune_l0, GATES | {"penalty": -1.0}),
        (prune_l0, GATES | {"gate_learning_rate": 0.0}),
        (prune_l0, GATES | {"penalty_epochs": 0}),
    ],
)
def test_an_option_out_of_range_is_refused(method: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)
