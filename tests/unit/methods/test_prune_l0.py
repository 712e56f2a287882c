"""The method prune_l0: hard concrete gates against their distribution, and training with them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_l0
from edgeproof.models.layers import find_weighted_layers
from edgeproof.models.training_task import Batch
from tests.support.method_inputs import RECIPE, SHAPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

GATES = {"gates": "weight", "penalty": 1e-3, "gate_learning_rate": 100.0, "penalty_epochs": 3}
DEAD_NETWORK = r"no longer depends on its input.*no weight is left in [a-z].*smaller sparsity or penalty"


log_alphas = st.floats(-6, 6)


STRETCH = 1.1 - -0.1


def sample_by_hand(log_alpha: float, u: np.ndarray) -> np.ndarray:
    """Compute equations 10 and 11 of the paper, in its symbols."""
    s = scipy.special.expit((np.log(u) - np.log(1 - u) + log_alpha) / (2 / 3))
    return np.minimum(1, np.maximum(0, s * STRETCH - 0.1))


@given(log_alphas)
def test_sampled_gates_equal_the_function_of_the_paper(log_alpha: float) -> None:
    u = np.linspace(1e-5, 1 - 1e-5, 1001)
    ours = prune_l0.sample_gates(torch.tensor(log_alpha, dtype=torch.float64), torch.from_numpy(u))
    np.testing.assert_allclose(ours, sample_by_hand(log_alpha, u), atol=1e-9)


@given(log_alphas)
def test_probability_of_a_closed_gate_follows_the_logistic_distribution(
    log_alpha: float,
) -> None:
    # z = 0 exactly when σ((x + log α) / β) ≤ −γ / (ζ − γ), with logistic noise x.
    below = 2 / 3 * scipy.special.logit(0.1 / STRETCH) - log_alpha
    probability = float(prune_l0.open_probability(torch.tensor(log_alpha, dtype=torch.float64)))
    assert 1 - probability == pytest.approx(scipy.stats.logistic.cdf(below), rel=1e-9)
    u = (np.arange(100_000) + 0.5) / 100_000
    assert (sample_by_hand(log_alpha, u) > 0).mean() == pytest.approx(probability, abs=2e-5)


@given(log_alphas)
def test_final_gates_equal_the_formula_of_the_paper(log_alpha: float) -> None:
    by_hand = min(1.0, max(0.0, scipy.special.expit(log_alpha) * STRETCH - 0.1))
    ours = prune_l0.compute_final_gates(torch.tensor(log_alpha, dtype=torch.float64))
    assert float(ours) == pytest.approx(by_hand, abs=1e-12)


@given(log_alphas, st.floats(0.01, 0.99))
def test_gradients_equal_finite_differences(log_alpha: float, u: float) -> None:
    step = 1e-6
    for ours, by_hand in (
        (
            lambda a: prune_l0.sample_gates(a, torch.tensor(u, dtype=torch.float64)),
            lambda a: sample_by_hand(a, np.array(u)),
        ),
        (prune_l0.open_probability, lambda a: scipy.special.expit(a - 2 / 3 * np.log(0.1 / 1.1))),
    ):
        parameter = torch.tensor(log_alpha, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(ours(parameter), parameter)
        ends = by_hand(log_alpha - step), by_hand(log_alpha + step)
        if (ends[0] in (0, 1)) == (ends[1] in (0, 1)):  # not at a kink
            assert float(gradient) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), abs=1e-5)


def make_gates(weight: torch.Tensor, kind: str) -> prune_l0.HardConcreteGates:
    gates = prune_l0.HardConcreteGates(weight, kind, torch.Generator().manual_seed(0))
    with torch.no_grad():
        nn.init.uniform_(gates.log_alpha, -4, 4)
    return gates


@pytest.mark.parametrize(("kind", "shape"), [("weight", (6, 5, 3, 3)), ("channel", (1, 5, 1, 1))])
def test_expected_number_of_weights_equals_the_mean_over_samples(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3)
    weight[:, :, 0] = 0  # pruned before
    gates = make_gates(weight, kind)
    assert gates.log_alpha.shape == shape
    with torch.no_grad():
        counts = [int(gates(weight).count_nonzero()) for _ in range(2000)]
        expected = float(gates.count_expected_weights())
    assert float(np.mean(counts)) == pytest.approx(expected, abs=4 * float(np.std(counts)) / 2000**0.5)
    assert expected < 6 * 5 * 6


def test_gates_are_random_in_training_and_fixed_in_evaluation() -> None:
    weight = torch.ones(4, 5)
    gates = make_gates(weight, "weight")
    assert not torch.equal(gates(weight), gates(weight))
    gates.eval()
    assert torch.equal(gates(weight), gates(weight))
    torch.testing.assert_close(gates(weight), prune_l0.compute_final_gates(gates.log_alpha))


def test_gates_are_almost_open_at_the_start() -> None:
    gates = prune_l0.HardConcreteGates(torch.ones(40, 50), "weight", torch.Generator().manual_seed(0))
    assert gates.count_expected_weights().item() / 2000 > 0.97
    assert bool((gates.eval()(torch.ones(40, 50)) > 0.97).all())


@pytest.mark.parametrize("kind", ["weight", "channel"])
def test_weights_are_multiplied_by_their_final_gates(
    kind: str, module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: layer.weight.detach().clone() for name, layer in find_weighted_layers(module).items()}
    values: dict[str, np.ndarray] = {}

    def set_gates(trained: nn.Module, task: Any, recipe: Any, *, separate_group: Any = None, **_: Any) -> nn.Module:
        for name, layer in find_weighted_layers(trained).items() if separate_group else ():
            if parametrize.is_parametrized(layer):
                log_alpha = layer.parametrizations.weight[0].log_alpha
                nn.init.uniform_(log_alpha, -4, 4)
                values[name] = scipy.special.expit(log_alpha.detach().double().numpy())
        return trained.eval()

    monkeypatch.setattr(prune_l0, "fit", set_gates)
    prune_l0.apply(module, make_task(), **RECIPE | GATES | {"gates": kind})
    gated = set(before) if kind == "weight" else set(before) - {"stem.0"}  # which reads one channel
    assert set(values) == gated
    for name, layer in find_weighted_layers(module).items():
        gates = np.clip(values[name] * STRETCH - 0.1, 0, 1) if name in values else 1.0
        np.testing.assert_allclose(layer.weight.detach().numpy(), before[name].numpy() * gates, rtol=1e-4, atol=1e-7)
        assert not parametrize.is_parametrized(layer)
        assert not layer.weight[layer.weight == 0].signbit().any()


def test_loss_penalizes_expected_weights_and_gates_have_their_own_rate(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(
        trained: nn.Module, task: Any, recipe: Any, *, loss: Any = None, separate_group: Any = None, **_: Any
    ) -> nn.Module:
        if loss is not None:
            logits = torch.randn(4, 4)
            batch = Batch((torch.zeros(4, *SHAPE),), torch.arange(4), torch.arange(4), torch.zeros(4))
            plain = nn.functional.cross_entropy(logits, batch.targets).item()
            seen.append((recipe.epochs, loss(logits, batch).item() - plain, separate_group))
        return trained.eval()

    monkeypatch.setattr(prune_l0, "fit", look)
    count = sum(w.numel() for w in list_weights(module))
    prune_l0.apply(module, make_task(), **RECIPE | GATES | {"penalty_epochs": 5})
    ((epochs, price, separate_group),) = seen
    open_share = scipy.special.expit(np.log(9) - 2 / 3 * np.log(0.1 / 1.1))
    assert epochs == 5
    assert price == pytest.approx(1e-3 * count * open_share, rel=1e-4)
    assert sum(p.numel() for p in separate_group.parameters) == count
    assert separate_group.learning_rate == 100.0


@pytest.mark.parametrize(("kind", "rate", "price"), [("weight", 3000.0, 5e-4), ("channel", 50.0, 2e-4)])
def test_a_larger_penalty_leaves_fewer_weights_and_zeros_are_held(
    kind: str, rate: float, price: float, module: nn.Module
) -> None:
    options = GATES | {"gates": kind, "gate_learning_rate": rate, "penalty_epochs": 6}
    shares = []
    for penalty in (1e-7, price):
        pruned, tuned = copy.deepcopy(module), copy.deepcopy(module)
        prune_l0.apply(pruned, make_task(), **RECIPE | options | {"penalty": penalty, "epochs": 0})
        prune_l0.apply(tuned, make_task(), **RECIPE | options | {"penalty": penalty, "epochs": 2})
        for one, other in zip(list_weights(pruned), list_weights(tuned), strict=True):
            assert torch.equal(one == 0, other == 0)
        shares.append(float(torch.cat([w.flatten() for w in list_weights(pruned)]).ne(0).double().mean()))
    assert shares[1] < shares[0] - 0.1


def test_a_closed_channel_gate_zeroes_all_weights_of_that_input_channel(module: nn.Module) -> None:
    options = GATES | {"gates": "channel", "gate_learning_rate": 50.0, "penalty_epochs": 6, "penalty": 2e-4}
    prune_l0.apply(module, make_task(), **RECIPE | options)
    closed = 0
    for layer in find_weighted_layers(module).values():
        nonzero = (layer.weight != 0).transpose(0, 1).flatten(1)
        assert bool((nonzero.all(1) | ~nonzero.any(1)).all())
        closed += int((~nonzero.any(1)).sum())
    assert closed > 0


@pytest.mark.parametrize("options", [{"gate_learning_rate": 1e4}, {"gates": "channel"}])
def test_a_penalty_that_leaves_a_dead_network_is_refused(options: dict[str, Any], module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=DEAD_NETWORK):
        prune_l0.apply(module, make_task(), **RECIPE | GATES | {"penalty": 1.0} | options)


@pytest.mark.parametrize(
    "wrong",
    [
        GATES | {"gates": "layer"},
        GATES | {"penalty": -1.0},
        GATES | {"gate_learning_rate": 0.0},
        GATES | {"penalty_epochs": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_l0.Options.model_validate(RECIPE | wrong)
