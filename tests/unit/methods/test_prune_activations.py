"""The method prune_activations: responses of channels, and which channels it removes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_activations
from edgeproof.models import training
from tests.support.method_inputs import RECIPE, make_task
from tests.support.tiny_networks import count_resnet8_parameters

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

ACTIVATIONS = {"criterion": "mean", "ratio": 0.5, "round_to": 1, "samples": 32}


@torch.no_grad()
@pytest.mark.parametrize("criterion", ["mean", "apoz"])
def test_response_of_a_channel_equals_the_formula_of_the_paper(criterion: str, module: nn.Module) -> None:
    x = make_task().train.inputs[0]
    responses = prune_activations.measure_responses(module, (x,), prune_activations.RESPONSES[criterion])
    module.eval()
    block = module.blocks[0]
    stem = module.stem(x)
    inner = block.relu(block.norm1(block.conv1(stem)))
    features = module.pool(module.blocks(stem))
    for layer, values in ((block.conv1, stem), (block.conv2, inner), (module.classifier, features)):
        a = values.double().numpy()
        by_hand = np.abs(a).mean((0, 2, 3)) if criterion == "mean" else 1 - (a == 0).mean((0, 2, 3))
        np.testing.assert_allclose(responses[layer], by_hand, rtol=1e-5)
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_a_linear_layer_over_tokens_has_channels_on_the_last_axis() -> None:
    module = nn.Sequential(nn.Flatten(2), nn.Linear(64, 3))
    x = make_task().train.inputs[0]
    responses = prune_activations.measure_responses(module, (x,), torch.abs)
    np.testing.assert_allclose(responses[module[1]], x.flatten(1).abs().double().numpy().mean(0), rtol=1e-5)


def test_apoz_and_mean_differ_for_a_channel_with_rare_strong_responses() -> None:
    # Channel 0 responds strongly to the largest pixels of a few images; the others respond weakly to nearly all.
    x = make_task().train.inputs[0]
    kept = {}
    for criterion in ("mean", "apoz"):
        training.make_deterministic(0, 1)
        module = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Flatten())
        module.append(nn.Linear(256, 4))
        with torch.no_grad():
            module[0].weight[:, 0, 0, 0] = torch.tensor([1e4, 0.1, 0.1, 0.1])
            module[0].bias.copy_(torch.tensor([-1e4 * float(x.flatten().sort().values[-20]), 1.0, 1.1, 1.2]))
        prune_activations.apply(module, make_task(), **RECIPE | ACTIVATIONS | {"epochs": 0, "criterion": criterion})
        kept[criterion] = module[0].weight.detach().flatten().tolist()
    assert 1e4 in kept["mean"]
    assert 1e4 not in kept["apoz"]


def test_apoz_is_refused_for_a_network_without_relu() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ConfigError, match=r"'apoz' counts the zeros after ReLU layers.*Use 'criterion: mean'"):
        prune_activations.apply(module, make_task(), **RECIPE | ACTIVATIONS | {"criterion": "apoz"})
    prune_activations.apply(module, make_task(), **RECIPE | ACTIVATIONS)


@pytest.mark.parametrize("criterion", ["mean", "apoz"])
def test_channels_with_the_weakest_responses_are_removed_despite_large_weights(criterion: str) -> None:
    training.make_deterministic(0, 1)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))
    with torch.no_grad():
        module[0].weight[[1, 4]] *= 100
        module[0].bias[[1, 4]] = -1e4  # never above zero
    kept = module[0].weight.detach()[[0, 2, 3, 5]].clone()
    outputs = module(make_task().train.inputs[0]).detach()
    prune_activations.apply(
        module, make_task(), **RECIPE | ACTIVATIONS | {"epochs": 0, "ratio": 1 / 3, "criterion": criterion}
    )
    assert torch.equal(module[0].weight.detach(), kept)
    assert module[4].weight.shape == (4, 16)
    torch.testing.assert_close(module(make_task().train.inputs[0]).detach(), outputs)


def test_pruned_network_has_the_parameters_of_a_narrower_network(module: nn.Module) -> None:
    prune_activations.apply(module, make_task(), **RECIPE | ACTIVATIONS)
    assert sum(p.numel() for p in module.parameters()) == count_resnet8_parameters(1, 4, [4, 8])


def test_pruning_that_removes_nothing_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"no channel was removed: ratio 0\.5 .* multiples of 16"):
        prune_activations.apply(module, make_task(), **RECIPE | ACTIVATIONS | {"round_to": 16})


@pytest.mark.parametrize(
    "wrong",
    [
        ACTIVATIONS | {"criterion": "zeros"},
        ACTIVATIONS | {"ratio": 1.0},
        ACTIVATIONS | {"round_to": 0},
        ACTIVATIONS | {"samples": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_activations.Options.model_validate(RECIPE | wrong)
