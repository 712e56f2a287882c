"""The method prune_channels_slimming: its penalty, and the channels that it removes."""

from __future__ import annotations

import copy
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
from edgeproof.methods import prune_channels_slimming
from edgeproof.models.training_task import Batch
from tests.support.channel_pruning_inputs import SLIMMING, STILL, build_plain_network
from tests.support.method_inputs import RECIPE, SHAPE, make_task
from tests.support.tiny_networks import count_resnet8_parameters

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def set_scales(module: nn.Module, first: list[float], second: list[float]) -> nn.Module:
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(first))
        module[4].weight.copy_(torch.tensor(second))
    return module


def test_layer_scope_removes_the_smallest_absolute_scales_of_each_layer() -> None:
    module = set_scales(build_plain_network(4, 6), [0.9, -0.1, 0.5, 0.2], [3.0, -0.3, 0.4, -5.0, 0.1, 2.0])
    prune_channels_slimming.apply(module, make_task(), **STILL | SLIMMING)
    assert module[1].weight.tolist() == pytest.approx([0.9, 0.5])
    assert module[4].weight.tolist() == pytest.approx([3.0, -5.0, 2.0])
    assert module[3].weight.shape == (3, 2, 3, 3)
    assert module[7].weight.shape == (4, 16 * 3)


def test_global_scope_finds_the_width_of_each_layer() -> None:
    module = set_scales(build_plain_network(4, 6), [0.9, -0.8, 0.7, 0.6], [3.0, -0.3, 0.4, -0.5, 0.1, 2.0])
    prune_channels_slimming.apply(module, make_task(), **STILL | SLIMMING | {"scope": "global"})
    assert module[1].weight.tolist() == pytest.approx([0.9, -0.8, 0.7])
    assert module[4].weight.tolist() == pytest.approx([3.0, 2.0])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 8), st.floats(0.05, 0.95))
def test_global_scope_uses_the_percentile_of_all_scales_or_names_the_empty_layer(
    seed: int, first: int, second: int, ratio: float
) -> None:
    rng = np.random.default_rng(seed)
    scales = rng.permutation(np.arange(1, first + second + 1)) / 10
    module = set_scales(build_plain_network(first, second), scales[:first].tolist(), scales[first:].tolist())
    removed = first + second - int((first + second) * (1 - ratio))
    kept = [s[s > np.sort(scales)[removed - 1]] for s in (scales[:first], scales[first:])]
    options = STILL | SLIMMING | {"scope": "global", "ratio": ratio}
    if min(len(k) for k in kept) == 0:
        emptied = "".join(name for name, scale in zip("03", kept, strict=True) if not len(scale))
        with pytest.raises(ConfigError, match=rf"would remove all \d channels of layer '[{emptied}]'"):
            prune_channels_slimming.apply(module, make_task(), **options)
    else:
        prune_channels_slimming.apply(module, make_task(), **options)
        np.testing.assert_allclose(module[1].weight.detach(), kept[0], rtol=1e-6)
        np.testing.assert_allclose(module[4].weight.detach(), kept[1], rtol=1e-6)


def test_loss_contains_the_l1_norm_of_all_scales(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        nn.init.normal_(layer.weight)
    total = sum(float(layer.weight.detach().abs().double().sum()) for layer in norms)
    signs = [layer.weight.detach().sign() for layer in norms]
    logits, labels = torch.randn(5, 4), torch.arange(5) % 4
    batch = Batch((torch.zeros(5, *SHAPE),), labels, torch.arange(5), torch.zeros(5))
    seen = []

    def look(trained: nn.Module, task: Any, recipe: Any, **given: Any) -> nn.Module:
        if "loss" in given:
            value = given["loss"](logits, batch)
            value.backward()
            seen.append((recipe.epochs, value.item(), [layer.weight.grad.clone() for layer in norms]))
        return trained

    monkeypatch.setattr(prune_channels_slimming, "fit", look)
    prune_channels_slimming.apply(module, make_task(), **RECIPE | SLIMMING | {"penalty": 0.3, "penalty_epochs": 7})
    ((epochs, value, gradients),) = seen
    assert epochs == 7
    assert value == pytest.approx(float(nn.functional.cross_entropy(logits, labels)) + 0.3 * total, rel=1e-6)
    for gradient, sign in zip(gradients, signs, strict=True):
        torch.testing.assert_close(gradient, 0.3 * sign)


def test_a_larger_penalty_gives_smaller_scales(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = []

    def look(trained: nn.Module, *_: Any, **__: Any) -> None:
        sums.append(sum(m.weight.abs().sum().item() for m in trained.modules() if isinstance(m, nn.BatchNorm2d)))

    monkeypatch.setattr(prune_channels_slimming, "remove_channels", look)
    for penalty in (0.0, 0.03, 0.3):
        options = STILL | SLIMMING | {"penalty": penalty, "penalty_epochs": 4}
        prune_channels_slimming.apply(copy.deepcopy(module), make_task(), **options)
    assert sums[0] > sums[1] > sums[2]


def test_result_equals_that_of_the_pruner_of_torch_pruning(module: nn.Module) -> None:
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
    prune_channels_slimming.apply(module, make_task(), **STILL | SLIMMING)
    assert sum(p.numel() for p in module.parameters()) == count_resnet8_parameters(1, 4, [4, 8])
    for ours, other in zip(module.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(ours, other)


def test_a_network_without_batch_normalization_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ConfigError, match="scales of batch normalizations, and this network has none"):
        prune_channels_slimming.apply(module, make_task(), **RECIPE | SLIMMING)


@pytest.mark.parametrize(
    "wrong",
    [
        SLIMMING | {"ratio": 1.0},
        SLIMMING | {"ratio": 0.0},
        SLIMMING | {"scope": "network"},
        SLIMMING | {"round_to": 0},
        SLIMMING | {"penalty": -1.0},
        SLIMMING | {"penalty_epochs": -1},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_channels_slimming.Options.model_validate(RECIPE | wrong)
