"""The method prune_channels: which channels it removes, and how many."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    prune_channels,
)
from edgeproof.models import training
from edgeproof.models.training_task import compute_outputs
from tests.support.channel_pruning_inputs import STILL, build_plain_network
from tests.support.method_inputs import RECIPE, SHAPE, make_task
from tests.support.tiny_networks import count_resnet8_parameters

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def test_pruned_network_has_the_parameters_of_a_narrower_network(module: nn.Module) -> None:
    prune_channels.apply(module, make_task(), **RECIPE, ratio=0.5, round_to=1)
    assert sum(p.numel() for p in module.parameters()) == count_resnet8_parameters(1, 4, [4, 8])
    assert compute_outputs(module, (torch.rand(3, *SHAPE),)).shape == (3, 4)


@pytest.mark.parametrize("round_to", [1, 2, 4])
def test_remaining_channel_counts_are_multiples_of_round_to(module: nn.Module, round_to: int) -> None:
    before = sum(p.numel() for p in module.parameters())
    prune_channels.apply(module, make_task(), **RECIPE | {"epochs": 0}, ratio=0.4, round_to=round_to)
    counts = [layer.out_channels for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert all(count % round_to == 0 for count in counts)
    assert all(p.dim() != 2 or p.shape[0] == 4 for p in module.parameters())  # one logit a class is left
    assert sum(p.numel() for p in module.parameters()) < before


def test_the_weakest_channels_are_removed() -> None:
    training.make_deterministic(0, 1)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    weak = [1, 4]
    with torch.no_grad():
        module[0].weight[weak] *= 1e-6
        module[4].weight[:, weak] *= 1e-6
    kept = module[0].weight.detach()[[0, 2, 3, 5]].clone()
    prune_channels.apply(module, make_task(), **RECIPE | {"epochs": 0}, ratio=1 / 3, round_to=1)
    assert torch.equal(module[0].weight.detach(), kept)
    assert module[4].weight.shape == (4, 4)


def test_pruning_that_removes_nothing_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"no channel was removed: ratio 0\.5 .* multiples of 16") as caught:
        prune_channels.apply(module, make_task(), **RECIPE, ratio=0.5, round_to=16)
    assert "smaller round_to" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 0, "round_to": 1},
        {"ratio": 1.2, "round_to": 1},
        {"ratio": 0.5, "round_to": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_channels.Options.model_validate(RECIPE | wrong)


@pytest.mark.parametrize(
    ("ratio", "round_to", "left"), [(0.8, 1, [4, 2]), (0.9, 1, [2, 1]), (0.9, 2, [2, 10]), (0.1, 1, [18, 9])]
)
def test_floating_point_errors_do_not_change_channel_counts(ratio: float, round_to: int, left: list[int]) -> None:
    module = build_plain_network(20, 10)
    prune_channels.apply(module, make_task(), **STILL, ratio=ratio, round_to=round_to)
    assert [module[0].out_channels, module[3].out_channels] == left
