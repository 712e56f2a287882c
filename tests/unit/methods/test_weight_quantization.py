"""Behaviour that the methods which quantize weights share."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.methods import prune_weights, quantize_linear, quantize_power_of_two, share_weights
from edgeproof.models import training
from tests.support.method_inputs import RECIPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

LINEAR = {"bits": 3, "symmetric": False, "per": "channel", "clipping": "minmax"}
METHODS: list[tuple[ModuleType, dict[str, Any], int]] = [  # and the most values of a tensor without zeros
    (quantize_linear, LINEAR | {"per": "tensor"}, 8),
    (quantize_linear, LINEAR | {"per": "tensor", "symmetric": True, "clipping": "mse"}, 8),
    (quantize_linear, LINEAR | {"per": "tensor", "clipping": 99.0}, 8),
    (quantize_power_of_two, {"bits": 4}, 9),
    (share_weights, {"bits": 3, "learning_rate": 1e-3}, 8),
]


@pytest.mark.parametrize(("method", "options", "most"), METHODS)
@pytest.mark.parametrize("epochs", [0, 3])
def test_quantized_weights_are_ordinary_tensors_with_few_values(
    method: ModuleType, options: dict[str, Any], most: int, epochs: int, module: nn.Module
) -> None:
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    method.apply(module, make_task(), **RECIPE | options | {"epochs": epochs})
    assert {name: tensor.shape for name, tensor in module.state_dict().items()} == shapes
    assert not any(parametrize.is_parametrized(layer) for layer in module.modules())
    assert all(len(weight.unique()) <= most for weight in list_weights(module))
    training.fit(module, make_task(), training.Recipe(**RECIPE))  # and it can be trained again


@pytest.mark.parametrize(("method", "options", "most"), METHODS)
def test_pruned_weights_stay_zero_without_a_sign(
    method: ModuleType, options: dict[str, Any], most: int, module: nn.Module
) -> None:
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.6, scope="global")
    zeros = [weight == 0 for weight in list_weights(module)]
    method.apply(module, make_task(), **RECIPE | options | {"epochs": 2})
    most_with_zero = most if method is share_weights else most + 1
    for weight, zero in zip(list_weights(module), zeros, strict=True):
        assert not weight[zero].any()
        assert not weight[weight == 0].signbit().any()
        assert len(weight.unique()) <= most_with_zero


@pytest.mark.parametrize(("method", "options", "most"), METHODS[:-1])
def test_straight_through_gradient_lets_weights_change_their_level(
    method: ModuleType, options: dict[str, Any], most: int, module: nn.Module
) -> None:
    still = copy.deepcopy(module)
    method.apply(still, make_task(), **RECIPE | options | {"epochs": 0})
    method.apply(module, make_task(), **RECIPE | options | {"epochs": 6, "learning_rate": 0.3, "weight_decay": 0})
    crossed = sum(int((a * b < 0).sum()) for a, b in zip(list_weights(still), list_weights(module), strict=True))
    assert crossed > 0
