"""Gradual and N:M pruning against their papers, group by group and step by step in plain numpy."""

from __future__ import annotations

import copy
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_activations, prune_gradual, prune_n_m, prune_weights
from edgeproof.models import training
from edgeproof.models.training import Recipe, TrainingTask
from edgeproof.networks import resnet8
from tests.unit.methods.test_methods import RECIPE, SHAPE, chain, task_of, weights_of
from tests.unit.networks.test_networks import parameters_by_hand

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

GRADUAL = {"initial_sparsity": 0.1, "sparsity": 0.8, "scope": "global", "every": 3, "pruning_share": 0.75}


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    return resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([w.flatten() for w in weights_of(module)])


# --- gradual -------------------------------------------------------------------------------------------------------


def zhu_gupta(t: int, s_i: float, s_f: float, t_0: int, n: int, delta: int) -> float:
    """Equation 1 of the paper, in its own symbols."""
    return s_f + (s_i - s_f) * (1 - (t - t_0) / (n * delta)) ** 3


@given(st.floats(0, 0.5), st.floats(0.5, 0.99), st.integers(1, 50), st.integers(1, 20), st.data())
def test_the_schedule_is_the_papers_equation_between_its_end_points(
    s_i: float, s_f: float, n: int, delta: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(0, n)) * delta
    ours = prune_gradual.cubic_sparsity(t / (n * delta), s_i, s_f)
    assert ours == pytest.approx(zhu_gupta(t, s_i, s_f, 0, n, delta), abs=1e-12)
    assert prune_gradual.cubic_sparsity(0.0, s_i, s_f) == pytest.approx(s_i)
    assert prune_gradual.cubic_sparsity(1.0, s_i, s_f) == s_f


def test_half_way_seven_eighths_of_the_pruning_are_done() -> None:
    assert prune_gradual.cubic_sparsity(0.5, 0.0, 0.8) == pytest.approx(0.7)


def test_sparsity_follows_the_schedule_every_few_steps_and_zeros_are_held_between(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, seen = len(flat(module)), []

    def disturb(trained: nn.Module, task: TrainingTask, recipe: Recipe, *, after_step: Any) -> nn.Module:
        seen.append((flat(trained) == 0).clone())
        generator = torch.Generator().manual_seed(0)
        for _ in range(32):  # 8 epochs of 4 batches
            with torch.no_grad():
                for p in trained.parameters():
                    p += 0.1 * torch.randn(p.shape, generator=generator)
            after_step()
            seen.append((flat(trained) == 0).clone())
        return trained

    monkeypatch.setattr(prune_gradual, "fit", disturb)
    prune_gradual.apply(module, task_of(), **RECIPE | GRADUAL | {"epochs": 8})
    for step, zeros in enumerate(seen):
        at = 24 if step >= 24 else step // 3 * 3
        assert int(zeros.sum()) == round(zhu_gupta(at, 0.1, 0.8, 0, 8, 3) * total)
        assert step == 0 or bool((zeros >= seen[step - 1]).all())


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("every", [1, 100])
def test_the_final_sparsity_is_reached_exactly_however_short_the_training(
    module: nn.Module, epochs: int, every: int
) -> None:
    prune_gradual.apply(module, task_of(), **RECIPE | GRADUAL | {"epochs": epochs, "every": every})
    assert int((flat(module) == 0).sum()) == round(0.8 * len(flat(module)))


def test_without_training_it_is_the_magnitude_pruning_of_prune_weights(module: nn.Module) -> None:
    other = copy.deepcopy(module)
    prune_gradual.apply(module, task_of(), **RECIPE | GRADUAL | {"epochs": 0})
    prune_weights.apply(other, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    assert torch.equal(flat(module), flat(other))


def test_by_layer_every_layer_has_the_same_share_of_zeros(module: nn.Module) -> None:
    with torch.no_grad():
        module.classifier.weight *= 100  # globally it would lose nothing
    prune_gradual.apply(module, task_of(), **RECIPE | GRADUAL | {"scope": "layer"})
    for weight in weights_of(module):
        assert int((weight == 0).sum()) == round(0.8 * weight.numel())


def test_gradual_pruning_of_a_sparser_model_adds_no_weights(module: nn.Module) -> None:
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.9, scope="layer")
    zeros = flat(module) == 0
    prune_gradual.apply(module, task_of(), **RECIPE | GRADUAL)
    assert torch.equal(flat(module) == 0, zeros)


def test_gradual_pruning_that_lets_nothing_through_names_the_emptied_layer() -> None:
    with pytest.raises(ConfigError, match=r"no longer depends on its input.*no weight is left in 3\. Remove less"):
        prune_gradual.apply(chain(), task_of(), **RECIPE | GRADUAL | {"epochs": 0})
    prune_gradual.apply(chain(), task_of(), **RECIPE | GRADUAL | {"epochs": 0, "scope": "layer"})


# --- N:M -----------------------------------------------------------------------------------------------------------

tensors = st.builds(
    lambda seed, out, width, kernel, distinct: (
        np.random.default_rng(seed).integers(-distinct, distinct + 1, (out, width, *kernel)).astype(np.float32)
    ),
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 11),
    st.sampled_from([(), (1, 1), (2, 3)]),
    st.sampled_from([1, 5, 10**6]),  # few values make many ties
)


@given(tensors, st.integers(1, 4), st.integers(1, 4))
def test_of_every_group_along_the_inputs_exactly_the_n_largest_are_kept(weight: np.ndarray, n: int, more: int) -> None:
    m = n + more
    mask = prune_n_m.build_n_m_mask(torch.from_numpy(weight), n, m).numpy()
    assert mask.shape == weight.shape
    rows = np.moveaxis(weight, 1, -1).reshape(-1, weight.shape[1])
    kept = np.moveaxis(mask, 1, -1).reshape(-1, weight.shape[1])
    for row, keep in zip(rows, kept, strict=True):
        for start in range(0, len(row), m):
            group, chosen = np.abs(row[start : start + m]), keep[start : start + m]
            largest = np.argsort(-group, kind="stable")[:n]
            assert sorted(largest) == np.flatnonzero(chosen).tolist()


def test_two_of_four_leaves_half_of_every_layer_that_has_groups(module: nn.Module) -> None:
    first, *others = weights_of(module)
    before = first.clone()
    prune_n_m.apply(module, task_of(), **RECIPE | {"epochs": 0}, n=2, m=4)
    assert torch.equal(first, before)  # one input channel: nothing to choose from
    for weight in others:
        assert weight.shape[1] % 4 == 0
        assert int((weight != 0).sum()) * 2 == weight.numel()


def test_the_zeros_of_n_m_pruning_are_held_through_fine_tuning_while_the_rest_moves(module: nn.Module) -> None:
    pruned = copy.deepcopy(module)
    prune_n_m.apply(pruned, task_of(), **RECIPE | {"epochs": 0}, n=1, m=4)
    prune_n_m.apply(module, task_of(), **RECIPE | {"epochs": 3}, n=1, m=4)
    assert torch.equal(flat(module) == 0, flat(pruned) == 0)
    kept = flat(pruned) != 0
    assert (flat(module) != flat(pruned))[kept].double().mean() > 0.9


def test_n_m_pruning_of_a_sparser_model_adds_no_weights(module: nn.Module) -> None:
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.9, scope="layer")
    zeros = flat(module) == 0
    prune_n_m.apply(module, task_of(), **RECIPE, n=2, m=4)
    assert bool((flat(module) == 0)[zeros].all())


# --- activations ---------------------------------------------------------------------------------------------------

ACTIVATIONS = {"criterion": "mean", "ratio": 0.5, "round_to": 1, "samples": 32}


@torch.no_grad()
@pytest.mark.parametrize("criterion", ["mean", "apoz"])
def test_a_channels_response_is_the_papers_over_what_the_next_layers_read(criterion: str, module: nn.Module) -> None:
    x = task_of().train_x
    heard = prune_activations.measure_responses(module, x, prune_activations.RESPONSES[criterion])
    module.eval()
    block = module.blocks[0]
    stem = module.stem(x)
    inner = block.relu(block.norm1(block.conv1(stem)))
    pooled = module.pool(module.blocks(stem))
    for layer, values in ((block.conv1, stem), (block.conv2, inner), (module.classifier, pooled)):
        a = values.double().numpy()
        by_hand = np.abs(a).mean((0, 2, 3)) if criterion == "mean" else 1 - (a == 0).mean((0, 2, 3))
        np.testing.assert_allclose(heard[layer], by_hand, rtol=1e-5)
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_a_linear_layer_over_tokens_reads_its_channels_on_the_last_axis() -> None:
    module = nn.Sequential(nn.Flatten(2), nn.Linear(64, 3))
    x = task_of().train_x
    heard = prune_activations.measure_responses(module, x, torch.abs)
    np.testing.assert_allclose(heard[module[1]], x.flatten(1).abs().double().numpy().mean(0), rtol=1e-5)


def test_apoz_and_mean_disagree_about_a_channel_that_responds_rarely_but_strongly() -> None:
    # Channel 0 responds to the one largest pixel of a few images, hugely; the others nearly always, and little.
    x = task_of().train_x
    kept = {}
    for criterion in ("mean", "apoz"):
        training.make_deterministic(0, 1)
        module = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Flatten())
        module.append(nn.Linear(256, 4))
        with torch.no_grad():
            module[0].weight[:, 0, 0, 0] = torch.tensor([1e4, 0.1, 0.1, 0.1])
            module[0].bias.copy_(torch.tensor([-1e4 * float(x.flatten().sort().values[-20]), 1.0, 1.1, 1.2]))
        prune_activations.apply(module, task_of(), **RECIPE | ACTIVATIONS | {"epochs": 0, "criterion": criterion})
        kept[criterion] = module[0].weight.detach().flatten().tolist()
    assert 1e4 in kept["mean"]
    assert 1e4 not in kept["apoz"]


def test_apoz_of_a_network_without_a_relu_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ConfigError, match=r"apoz counts the zeros after ReLU layers.*Use 'criterion: mean'"):
        prune_activations.apply(module, task_of(), **RECIPE | ACTIVATIONS | {"criterion": "apoz"})
    prune_activations.apply(module, task_of(), **RECIPE | ACTIVATIONS)


@pytest.mark.parametrize("criterion", ["mean", "apoz"])
def test_the_channels_that_respond_least_are_removed_however_large_their_weights(criterion: str) -> None:
    training.make_deterministic(0, 1)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))
    with torch.no_grad():
        module[0].weight[[1, 4]] *= 100
        module[0].bias[[1, 4]] = -1e4  # never above zero
    kept = module[0].weight.detach()[[0, 2, 3, 5]].clone()
    outputs = module(task_of().train_x).detach()
    prune_activations.apply(
        module, task_of(), **RECIPE | ACTIVATIONS | {"epochs": 0, "ratio": 1 / 3, "criterion": criterion}
    )
    assert torch.equal(module[0].weight.detach(), kept)
    assert module[4].weight.shape == (4, 16)
    torch.testing.assert_close(module(task_of().train_x).detach(), outputs)


def test_pruning_by_activations_leaves_the_network_that_narrower_widths_would_have_built(module: nn.Module) -> None:
    prune_activations.apply(module, task_of(), **RECIPE | ACTIVATIONS)
    assert sum(p.numel() for p in module.parameters()) == parameters_by_hand(1, 4, [4, 8])


def test_pruning_by_activations_that_would_remove_nothing_says_so(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"no channel was removed: ratio 0\.5 .* multiples of 16"):
        prune_activations.apply(module, task_of(), **RECIPE | ACTIVATIONS | {"round_to": 16})


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "options"), [(prune_gradual, GRADUAL), (prune_n_m, {"n": 2, "m": 4})])
def test_a_zero_has_no_sign_which_would_cost_a_bit_in_the_compressed_file(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    method.apply(module, task_of(), **RECIPE | options)
    weights = flat(module)
    assert not math.isclose(float((weights == 0).double().mean()), 0)
    assert not weights[weights == 0].signbit().any()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (prune_gradual, GRADUAL | {"sparsity": 1.0}),
        (prune_gradual, GRADUAL | {"sparsity": 0.0, "initial_sparsity": 0.0}),
        (prune_gradual, GRADUAL | {"initial_sparsity": -0.1}),
        (prune_gradual, GRADUAL | {"initial_sparsity": 0.9}),
        (prune_gradual, GRADUAL | {"scope": "channel"}),
        (prune_gradual, GRADUAL | {"every": 0}),
        (prune_gradual, GRADUAL | {"pruning_share": 0.0}),
        (prune_gradual, GRADUAL | {"pruning_share": 1.1}),
        (prune_activations, ACTIVATIONS | {"criterion": "zeros"}),
        (prune_activations, ACTIVATIONS | {"ratio": 1.0}),
        (prune_activations, ACTIVATIONS | {"round_to": 0}),
        (prune_activations, ACTIVATIONS | {"samples": 0}),
        (prune_n_m, {"n": 0, "m": 4}),
        (prune_n_m, {"n": 4, "m": 4}),
        (prune_n_m, {"n": 1, "m": 1}),
    ],
)
def test_an_option_out_of_range_is_refused(method: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)
