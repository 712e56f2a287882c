"""Removal of channels by every method that removes them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_channels, prune_channels_slimming, prune_channels_taylor
from edgeproof.models import channel_pruning
from tests.support.channel_pruning_inputs import HALF, SLIMMING, STILL, TAYLOR
from tests.support.method_inputs import RECIPE, build_module, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@pytest.fixture
def module() -> nn.Module:
    """Return a small untrained resnet8."""
    return build_module()


METHODS: list[tuple[ModuleType, dict[str, Any]]] = [
    (prune_channels, HALF),
    (prune_channels_slimming, SLIMMING),
    (prune_channels_taylor, TAYLOR),
]


class HardCodedWidth(nn.Module):
    """A network with a hard-coded width."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Linear(512, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).reshape(-1, 512))


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_network_with_hard_coded_width_is_refused(method: ModuleType, options: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"channels of this network can't be removed.*take every size from its layers"
    ):
        method.apply(HardCodedWidth(), make_task(), **RECIPE | options)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_network_without_channels_to_remove_is_refused(method: ModuleType, options: dict[str, Any]) -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(ConfigError, match="no channel was removed"):
        method.apply(module, make_task(), **RECIPE | options)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_ratio_that_empties_a_layer_names_the_layer(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    with pytest.raises(ConfigError, match=r"ratio 0\.9 would remove all 8 channels of layer 'stem\.0'"):
        method.apply(module, make_task(), **RECIPE | options | {"ratio": 0.9})


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_layer_that_rounding_would_empty_is_not_pruned(
    method: ModuleType, options: dict[str, Any], module: nn.Module
) -> None:
    method.apply(module, make_task(), **STILL | options | {"round_to": 8})
    assert module.stem[0].out_channels == 8
    assert module.classifier.in_features == 8


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_zeros_of_remaining_channels_stay_zero(method: ModuleType, options: dict[str, Any], module: nn.Module) -> None:
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    with torch.no_grad():
        for layer in convolutions:
            layer.weight[:, :, 0] = 0
    options = options | {"penalty_epochs": 1} if "penalty_epochs" in options else options
    method.apply(module, make_task(), **RECIPE | options)
    for layer in convolutions:
        assert not layer.weight[:, :, 0].any()
        assert bool(layer.weight[:, :, 1:].any())
    assert sum(w.numel() for w in list_weights(module)) > 0


class TwoHeads(nn.Module):
    """A network with a linear output, a convolutional output and a last layer that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.classes, self.boxes = nn.Linear(8, 4), nn.Conv2d(8, 6, 1)
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.gate = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.stem(x)
        gated = features * self.gate(features.mean((2, 3)))[:, :, None, None]
        return self.classes(gated.mean((2, 3))), self.boxes(gated).permute(0, 2, 3, 1).flatten(1, 2).relu()


def test_every_output_keeps_its_channels_and_all_other_layers_lose_some() -> None:
    module, task = TwoHeads().eval(), make_task()
    outputs = {module.classes, module.boxes}
    assert set(channel_pruning.find_output_layers(module, task.make_examples(1))) == outputs
    prune_channels.apply(module, task, **STILL, ratio=0.5, round_to=1)
    assert [tuple(each.shape[1:]) for each in module(*task.make_examples(2))] == [(4,), (36, 6)]
    assert (module.stem[0].out_channels, module.stem[2].out_channels, module.gate.out_features) == (4, 4, 4)
