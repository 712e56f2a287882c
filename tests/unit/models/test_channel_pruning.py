"""Removing channels: by batch normalizations' scales, by Taylor's expansion, and what is refused."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_channels, prune_channels_slimming, prune_channels_taylor
from edgeproof.models import channel_pruning, training
from edgeproof.models.training import Batch
from edgeproof.networks import resnet8
from tests.unit.methods.test_methods import RECIPE, SHAPE, task_of, weights_of
from tests.unit.networks.test_networks import parameters_by_hand

pytestmark = pytest.mark.usefixtures("torch_settings_kept")

STILL = RECIPE | {"epochs": 0}
HALF = {"ratio": 0.5, "round_to": 1}
SLIMMING = HALF | {"scope": "layer", "penalty": 0.01, "penalty_epochs": 0}
TAYLOR = HALF | {"samples": 32}


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    return resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)


def plain(first: int, second: int, seed: int = 0) -> nn.Module:
    """Two convolutions with normalizations and nothing coupled but what follows them."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, first, 3),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * second, 4),
    )


def scaled(module: nn.Module, first: list[float], second: list[float]) -> nn.Module:
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(first))
        module[4].weight.copy_(torch.tensor(second))
    return module


# --- network slimming ----------------------------------------------------------------------------------------------


def test_by_layer_the_smallest_scales_of_each_layer_go_whatever_their_sign() -> None:
    module = scaled(plain(4, 6), [0.9, -0.1, 0.5, 0.2], [3.0, -0.3, 0.4, -5.0, 0.1, 2.0])
    prune_channels_slimming.apply(module, task_of(), **STILL | SLIMMING)
    assert module[1].weight.tolist() == pytest.approx([0.9, 0.5])
    assert module[4].weight.tolist() == pytest.approx([3.0, -5.0, 2.0])
    assert module[3].weight.shape == (3, 2, 3, 3)
    assert module[7].weight.shape == (4, 16 * 3)


def test_globally_one_threshold_finds_each_layers_width() -> None:
    module = scaled(plain(4, 6), [0.9, -0.8, 0.7, 0.6], [3.0, -0.3, 0.4, -0.5, 0.1, 2.0])
    prune_channels_slimming.apply(module, task_of(), **STILL | SLIMMING | {"scope": "global"})
    assert module[1].weight.tolist() == pytest.approx([0.9, -0.8, 0.7])
    assert module[4].weight.tolist() == pytest.approx([3.0, 2.0])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 8), st.floats(0.05, 0.95))
def test_globally_the_papers_percentile_of_all_scales_decides_or_the_emptied_layer_is_named(
    seed: int, first: int, second: int, ratio: float
) -> None:
    rng = np.random.default_rng(seed)
    scales = rng.permutation(np.arange(1, first + second + 1)) / 10
    module = scaled(plain(first, second), scales[:first].tolist(), scales[first:].tolist())
    removed = first + second - int((first + second) * (1 - ratio))
    kept = [s[s > np.sort(scales)[removed - 1]] for s in (scales[:first], scales[first:])]
    options = STILL | SLIMMING | {"scope": "global", "ratio": ratio}
    if min(len(k) for k in kept) == 0:
        emptied = "".join(name for name, scale in zip("03", kept, strict=True) if not len(scale))
        with pytest.raises(ConfigError, match=rf"would remove all \d channels of layer '[{emptied}]'"):
            prune_channels_slimming.apply(module, task_of(), **options)
    else:
        prune_channels_slimming.apply(module, task_of(), **options)
        np.testing.assert_allclose(module[1].weight.detach(), kept[0], rtol=1e-6)
        np.testing.assert_allclose(module[4].weight.detach(), kept[1], rtol=1e-6)


def test_the_loss_has_the_sum_of_all_scales_magnitudes(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        nn.init.normal_(layer.weight)
    total = sum(float(layer.weight.detach().abs().double().sum()) for layer in norms)
    signs = [layer.weight.detach().sign() for layer in norms]
    logits, labels = torch.randn(5, 4), torch.arange(5) % 4
    batch = Batch(torch.zeros(5, *SHAPE), labels, torch.arange(5), torch.zeros(5))
    seen = []

    def look(trained: nn.Module, task: Any, recipe: Any, **given: Any) -> nn.Module:
        if "loss" in given:
            value = given["loss"](logits, batch)
            value.backward()
            seen.append((recipe.epochs, value.item(), [layer.weight.grad.clone() for layer in norms]))
        return trained

    monkeypatch.setattr(prune_channels_slimming, "fit", look)
    prune_channels_slimming.apply(module, task_of(), **RECIPE | SLIMMING | {"penalty": 0.3, "penalty_epochs": 7})
    ((epochs, value, gradients),) = seen
    assert epochs == 7
    assert value == pytest.approx(float(nn.functional.cross_entropy(logits, labels)) + 0.3 * total, rel=1e-6)
    for gradient, sign in zip(gradients, signs, strict=True):
        torch.testing.assert_close(gradient, 0.3 * sign)


def test_the_penalty_makes_scales_small_before_any_is_removed(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = []

    def look(trained: nn.Module, *_: Any, **__: Any) -> None:
        sums.append(sum(m.weight.abs().sum().item() for m in trained.modules() if isinstance(m, nn.BatchNorm2d)))

    monkeypatch.setattr(prune_channels_slimming, "remove_channels", look)
    for penalty in (0.0, 0.03, 0.3):
        options = STILL | SLIMMING | {"penalty": penalty, "penalty_epochs": 4}
        prune_channels_slimming.apply(copy.deepcopy(module), task_of(), **options)
    assert sums[0] > sums[1] > sums[2]


def test_what_is_left_is_what_torch_prunings_own_pruner_leaves(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight)
    theirs = copy.deepcopy(module)
    torch_pruning.pruner.BNScalePruner(
        theirs,
        torch.zeros(1, *SHAPE),
        importance=torch_pruning.importance.BNScaleImportance(),
        pruning_ratio=0.5,
        ignored_layers=[theirs.classifier],
    ).step()
    prune_channels_slimming.apply(module, task_of(), **STILL | SLIMMING)
    assert sum(p.numel() for p in module.parameters()) == parameters_by_hand(1, 4, [4, 8])
    for ours, other in zip(module.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(ours, other)


def test_a_network_without_batch_normalization_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ConfigError, match="scales of batch normalizations, and this network has none"):
        prune_channels_slimming.apply(module, task_of(), **RECIPE | SLIMMING)


# --- L1 norms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "round_to", "left"), [(0.8, 1, [4, 2]), (0.9, 1, [2, 1]), (0.9, 2, [2, 10]), (0.1, 1, [18, 9])]
)
def test_what_is_left_is_the_whole_share_and_not_one_less_for_a_rounding_error(
    ratio: float, round_to: int, left: list[int]
) -> None:
    module = plain(20, 10)
    prune_channels.apply(module, task_of(), **STILL, ratio=ratio, round_to=round_to)
    assert [module[0].out_channels, module[3].out_channels] == left


# --- Taylor --------------------------------------------------------------------------------------------------------


def test_a_parameters_score_is_its_squared_gradient_times_itself_averaged_over_batches() -> None:
    torch.manual_seed(0)
    module, task = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double(), task_of()
    x, labels = task.train_x.double(), task.train_y
    scores = prune_channels_taylor.compute_taylor_scores(module, x, labels, 8)
    weight, bias = module[1].weight.detach().numpy(), module[1].bias.detach().numpy()
    terms: list[list[np.ndarray]] = [[], []]
    for start in range(0, 32, 8):  # the softmax regression's gradient, in closed form
        rows, truth = x[start : start + 8].flatten(1).numpy(), np.eye(4)[labels[start : start + 8].numpy()]
        odds = np.exp(rows @ weight.T + bias)
        error = (odds / odds.sum(1, keepdims=True) - truth) / 8
        terms[0].append((error.T @ rows * weight) ** 2)
        terms[1].append((error.sum(0) * bias) ** 2)
    np.testing.assert_allclose(scores[module[1].weight], np.mean(terms[0], axis=0), rtol=1e-9)
    np.testing.assert_allclose(scores[module[1].bias], np.mean(terms[1], axis=0), rtol=1e-9)


def test_a_score_is_to_first_order_the_squared_change_of_the_loss_when_the_parameter_is_removed() -> None:
    module, task = plain(3, 4).double().eval(), task_of()
    x, labels = task.train_x.double(), task.train_y
    for p in module.parameters():  # removing a parameter is a small step only when the parameter is small
        p.data *= 1e-3 if p.dim() > 1 else 1
    scores = prune_channels_taylor.compute_taylor_scores(module, x, labels, 32)

    def loss() -> float:
        return float(nn.functional.cross_entropy(module(x), labels).detach())

    before = loss()
    for p, place in ((module[0].weight, (1, 0, 2, 2)), (module[3].weight, (2, 1, 0, 1)), (module[7].weight, (3, 17))):
        value = p.data[place].item()
        p.data[place] = 0
        assert float(scores[p][place]) == pytest.approx((loss() - before) ** 2, rel=0.05)
        p.data[place] = value


def importances(module: nn.Module, values: dict[nn.Parameter, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The importance that is given to each group of coupled layers, by its first layer's name."""
    graph = torch_pruning.DependencyGraph().build_dependency(module, torch.zeros(1, *SHAPE))
    names = {layer: name for name, layer in module.named_modules()}
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    return {
        names[group[0].dep.layer]: channel_pruning.sum_coupled_values(
            group, lambda layer, reads: prune_channels_taylor._sum_by_channel(layer, values, reads=reads)
        )
        for group in graph.get_all_groups(ignored_layers=[last], root_module_types=[nn.Conv2d, nn.Linear])
    }


def drawn(module: nn.Module) -> dict[nn.Parameter, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {p: torch.rand(p.shape, generator=generator) for p in module.parameters()}


def test_a_channels_importance_sums_over_every_parameter_that_goes_with_it() -> None:
    module = plain(3, 5)
    values = drawn(module)
    found = importances(module, values)
    own = {name: values[p].numpy() for name, p in module.named_parameters()}
    for c in range(3):
        by_hand = own["0.weight"][c].sum() + own["0.bias"][c] + own["1.weight"][c] + own["1.bias"][c]
        assert float(found["0"][c]) == pytest.approx(by_hand + own["3.weight"][:, c].sum(), rel=1e-5)
    for c in range(5):
        by_hand = own["3.weight"][c].sum() + own["3.bias"][c] + own["4.weight"][c] + own["4.bias"][c]
        assert float(found["3"][c]) == pytest.approx(by_hand + own["7.weight"][:, 16 * c : 16 * c + 16].sum(), rel=1e-5)


def test_beside_a_shortcut_both_branches_and_all_readers_count(module: nn.Module) -> None:
    values = drawn(module)
    (found,) = [v for name, v in importances(module, values).items() if len(v) == 8 and "stem" in name]
    own = {name: values[p].numpy() for name, p in module.named_parameters()}
    for c in range(8):
        by_hand = sum(own[name][c].sum() for name in ("stem.0.weight", "stem.1.weight", "stem.1.bias"))
        by_hand += sum(own[f"blocks.0.{name}"][c].sum() for name in ("conv2.weight", "norm2.weight", "norm2.bias"))
        readers = ("blocks.0.conv1", "blocks.1.conv1", "blocks.1.shortcut.0")
        by_hand += sum(own[f"{name}.weight"][:, c].sum() for name in readers)
        assert float(found[c]) == pytest.approx(by_hand, rel=1e-5)


def test_a_grouped_convolution_reads_each_channel_with_its_groups_weights_alone() -> None:
    layer = nn.Conv2d(6, 4, 3, groups=2)
    values = drawn(layer)
    found = prune_channels_taylor._sum_by_channel(layer, values, reads=True)
    weight = values[layer.weight].numpy()
    by_hand = [weight[2 * (c // 3) : 2 * (c // 3) + 2, c % 3].sum() for c in range(6)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_channels_without_influence_on_the_loss_are_removed_first() -> None:
    module = plain(4, 4)
    with torch.no_grad():
        module[0].weight[[1, 2]] *= 50
        module[3].weight[:, [1, 2]] = 0  # nobody listens
        module[1].weight[[1, 2]] = 0
        module[1].bias[[1, 2]] = 0
    kept = module[0].weight.detach()[[0, 3]].clone()
    prune_channels_taylor.apply(module, task_of(), **STILL | TAYLOR)
    assert torch.equal(module[0].weight.detach(), kept)


def test_measuring_changes_neither_weights_nor_the_statistics_of_normalizations(module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    prune_channels_taylor.compute_taylor_scores(module, task_of().train_x, task_of().train_y, 8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_pruning_by_taylor_leaves_the_network_that_narrower_widths_would_have_built(module: nn.Module) -> None:
    prune_channels_taylor.apply(module, task_of(), **RECIPE | TAYLOR)
    assert sum(p.numel() for p in module.parameters()) == parameters_by_hand(1, 4, [4, 8])


# --- all of them ---------------------------------------------------------------------------------------------------

METHODS: list[tuple[ModuleType, dict[str, Any]]] = [
    (prune_channels, HALF),
    (prune_channels_slimming, SLIMMING),
    (prune_channels_taylor, TAYLOR),
]


class Fixed(nn.Module):
    """A network that knows how wide it once was."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Linear(512, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).reshape(-1, 512))


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_network_whose_code_hard_codes_its_width_is_refused(method: ModuleType, options: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"channels of this network can't be removed.*take every size from its layers"
    ):
        method.apply(Fixed(), task_of(), **RECIPE | options)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_network_without_channels_to_remove_is_refused(method: ModuleType, options: dict[str, Any]) -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(ConfigError, match="no channel was removed"):
        method.apply(module, task_of(), **RECIPE | options)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_ratio_that_leaves_a_layer_nothing_names_the_layer(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    with pytest.raises(ConfigError, match=r"ratio 0\.9 would remove all 8 channels of layer 'stem\.0'"):
        method.apply(module, task_of(), **RECIPE | options | {"ratio": 0.9})


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_layer_that_rounding_would_empty_stays_while_wider_ones_are_pruned(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    method.apply(module, task_of(), **STILL | options | {"round_to": 8})
    assert module.stem[0].out_channels == 8
    assert module.classifier.in_features == 8


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_zeros_of_the_channels_that_stay_are_held_through_fine_tuning(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    with torch.no_grad():
        for layer in convolutions:
            layer.weight[:, :, 0] = 0
    options = options | {"penalty_epochs": 1} if "penalty_epochs" in options else options
    method.apply(module, task_of(), **RECIPE | options)
    for layer in convolutions:
        assert not layer.weight[:, :, 0].any()
        assert bool(layer.weight[:, :, 1:].any())
    assert sum(w.numel() for w in weights_of(module)) > 0


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (prune_channels_slimming, SLIMMING | {"ratio": 1.0}),
        (prune_channels_slimming, SLIMMING | {"ratio": 0.0}),
        (prune_channels_slimming, SLIMMING | {"scope": "network"}),
        (prune_channels_slimming, SLIMMING | {"round_to": 0}),
        (prune_channels_slimming, SLIMMING | {"penalty": -1.0}),
        (prune_channels_slimming, SLIMMING | {"penalty_epochs": -1}),
        (prune_channels_taylor, TAYLOR | {"ratio": 1.0}),
        (prune_channels_taylor, TAYLOR | {"round_to": 0}),
        (prune_channels_taylor, TAYLOR | {"samples": 0}),
    ],
)
def test_an_option_out_of_range_is_refused(method: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)
