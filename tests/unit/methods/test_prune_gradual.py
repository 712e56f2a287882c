"""The method prune_gradual against the schedule of its paper."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_gradual, prune_weights
from edgeproof.models.training import Recipe
from edgeproof.models.training_task import TrainingTask
from tests.support.method_inputs import RECIPE, build_chain, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

GRADUAL = {"initial_sparsity": 0.1, "sparsity": 0.8, "scope": "global", "every": 3, "pruning_share": 0.75}


def flatten_weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([w.flatten() for w in list_weights(module)])


def zhu_gupta(t: int, s_i: float, s_f: float, t_0: int, n: int, delta: int) -> float:
    """Compute equation 1 of the paper, in its symbols."""
    return s_f + (s_i - s_f) * (1 - (t - t_0) / (n * delta)) ** 3


@given(st.floats(0, 0.5), st.floats(0.5, 0.99), st.integers(1, 50), st.integers(1, 20), st.data())
def test_schedule_equals_the_equation_of_the_paper(
    s_i: float, s_f: float, n: int, delta: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(0, n)) * delta
    ours = prune_gradual.cubic_sparsity(t / (n * delta), s_i, s_f)
    assert ours == pytest.approx(zhu_gupta(t, s_i, s_f, 0, n, delta), abs=1e-12)
    assert prune_gradual.cubic_sparsity(0.0, s_i, s_f) == pytest.approx(s_i)
    assert prune_gradual.cubic_sparsity(1.0, s_i, s_f) == s_f


def test_seven_eighths_are_pruned_at_half_time() -> None:
    assert prune_gradual.cubic_sparsity(0.5, 0.0, 0.8) == pytest.approx(0.7)


def test_sparsity_follows_the_schedule_and_zeros_are_held_between_prunings(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, seen = len(flatten_weights(module)), []

    def disturb(trained: nn.Module, task: TrainingTask, recipe: Recipe, *, after_step: Any) -> nn.Module:
        seen.append((flatten_weights(trained) == 0).clone())
        generator = torch.Generator().manual_seed(0)
        for _ in range(32):  # 8 epochs of 4 batches
            with torch.no_grad():
                for p in trained.parameters():
                    p += 0.1 * torch.randn(p.shape, generator=generator)
            after_step()
            seen.append((flatten_weights(trained) == 0).clone())
        return trained

    monkeypatch.setattr(prune_gradual, "fit", disturb)
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL | {"epochs": 8})
    for step, zeros in enumerate(seen):
        last_pruning = 24 if step >= 24 else step // 3 * 3
        assert int(zeros.sum()) == round(zhu_gupta(last_pruning, 0.1, 0.8, 0, 8, 3) * total)
        assert step == 0 or bool((zeros >= seen[step - 1]).all())


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("every", [1, 100])
def test_the_final_sparsity_is_exact_even_after_short_training(module: nn.Module, epochs: int, every: int) -> None:
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL | {"epochs": epochs, "every": every})
    assert int((flatten_weights(module) == 0).sum()) == round(0.8 * len(flatten_weights(module)))


def test_zero_epochs_equal_prune_weights(module: nn.Module) -> None:
    other = copy.deepcopy(module)
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL | {"epochs": 0})
    prune_weights.apply(other, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    assert torch.equal(flatten_weights(module), flatten_weights(other))


def test_layer_scope_gives_every_layer_the_same_sparsity(module: nn.Module) -> None:
    with torch.no_grad():
        module.classifier.weight *= 100  # globally it would lose nothing
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL | {"scope": "layer"})
    for weight in list_weights(module):
        assert int((weight == 0).sum()) == round(0.8 * weight.numel())


def test_gradual_pruning_of_a_sparser_model_changes_no_zeros(module: nn.Module) -> None:
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.9, scope="layer")
    zeros = flatten_weights(module) == 0
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL)
    assert torch.equal(flatten_weights(module) == 0, zeros)


def test_pruning_a_network_dead_names_the_empty_layer() -> None:
    with pytest.raises(ConfigError, match=r"no longer depends on its input.*no weight is left in 3\. Remove less"):
        prune_gradual.apply(build_chain(), make_task(), **RECIPE | GRADUAL | {"epochs": 0})
    prune_gradual.apply(build_chain(), make_task(), **RECIPE | GRADUAL | {"epochs": 0, "scope": "layer"})


def test_zeros_have_no_sign(module: nn.Module) -> None:
    prune_gradual.apply(module, make_task(), **RECIPE | GRADUAL)
    weights = flatten_weights(module)
    assert not math.isclose(float((weights == 0).double().mean()), 0)
    assert not weights[weights == 0].signbit().any()


@pytest.mark.parametrize(
    "wrong",
    [
        GRADUAL | {"sparsity": 1.0},
        GRADUAL | {"sparsity": 0.0, "initial_sparsity": 0.0},
        GRADUAL | {"initial_sparsity": -0.1},
        GRADUAL | {"initial_sparsity": 0.9},
        GRADUAL | {"scope": "channel"},
        GRADUAL | {"every": 0},
        GRADUAL | {"pruning_share": 0.0},
        GRADUAL | {"pruning_share": 1.1},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_gradual.Options.model_validate(RECIPE | wrong)
