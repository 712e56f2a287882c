"""The optimizers of a recipe: AdamW equal to its formula in numpy, SGD as the default."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.models.training import ParameterGroup, Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask, cross_entropy
from tests.support.one_cycle import one_cycle
from tests.support.training_tasks import make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def make_task() -> TrainingTask:
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(5))
    return make_training_task(x, torch.arange(40) % 3, 3)


def make_recipe(**changes: Any) -> Recipe:
    plain = {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.05}
    return Recipe.model_validate(plain | changes)


def build_linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(16, 3)


def train_by_hand(
    module: nn.Linear, batches: Sequence[Batch], chosen: Recipe, bias_recipe: tuple[float, float]
) -> list[np.ndarray]:
    """Train a linear layer by AdamW in numpy: algorithm 2 of Loshchilov and Hutter (2019).

    `bias_recipe` is the bias's own rate and decay.
    """
    recipes = [(chosen.learning_rate, chosen.weight_decay), bias_recipe]
    parameters = [p.detach().double().numpy().copy() for p in module.parameters()]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step, (shape, batch) in enumerate(zip(one_cycle(1.0, len(batches)), batches, strict=True), 1):
        x = batch.inputs[0].double().numpy()
        odds = np.exp(x @ parameters[0].T + parameters[1])
        error = (odds / odds.sum(1, keepdims=True) - np.eye(3)[batch.targets.numpy()]) / len(x)
        for i, gradient in enumerate([error.T @ x, error.sum(0)]):
            first[i] = chosen.momentum * first[i] + (1 - chosen.momentum) * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            mean, square = first[i] / (1 - chosen.momentum**step), second[i] / (1 - 0.999**step)
            rate = recipes[i][0] * shape
            parameters[i] -= rate * recipes[i][1] * parameters[i] + rate * mean / (np.sqrt(square) + 1e-8)
    return parameters


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("separate_bias", [False, True])
def test_adamw_equals_its_formula_with_a_one_cycle_schedule(momentum: float, separate_bias: bool) -> None:
    chosen = make_recipe(optimizer="adamw", momentum=momentum)
    module, seen = build_linear(), []
    start = copy.deepcopy(module)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return cross_entropy(logits, batch)

    group = ParameterGroup([module.bias], 0.1) if separate_bias else None
    fit(module, make_task(), chosen, loss=loss, separate_group=group)
    assert len(seen) == 20
    bias_recipe = (0.1, 0.0) if separate_bias else (chosen.learning_rate, chosen.weight_decay)
    weight, bias = train_by_hand(start, seen, chosen, bias_recipe)
    np.testing.assert_allclose(module.weight.detach().numpy(), weight, atol=2e-5)
    np.testing.assert_allclose(module.bias.detach().numpy(), bias, atol=2e-5)


def test_sgd_is_the_default() -> None:
    assert make_recipe().optimizer == "sgd"
    named, plain = (fit(build_linear(), make_task(), make_recipe(**o)) for o in ({"optimizer": "sgd"}, {}))
    assert all(torch.equal(*pair) for pair in zip(named.parameters(), plain.parameters(), strict=True))


def test_zeros_stay_zero_with_adamw() -> None:
    module = build_linear()
    with torch.no_grad():
        module.weight[:, ::2] = 0
    fit(module, make_task(), make_recipe(optimizer="adamw"), keep_zeros=True)
    assert not module.weight[:, ::2].any()
    assert bool(module.weight[:, 1::2].all())


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValidationError, match="'sgd' or 'adamw'"):
        make_recipe(optimizer="adam")
