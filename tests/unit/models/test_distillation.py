"""The loss of training with teachers: none, one, or several, in methods that fine-tune a model."""

from __future__ import annotations

import copy
import dataclasses
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_channels, quantize_aware, round_weights
from edgeproof.models.distillation import TaughtRecipe, make_optional_loss
from edgeproof.models.training_task import compute_outputs, measure_quality
from edgeproof.models.weight_rounding import round_weight
from tests.support.distillation_inputs import build_network, make_batch
from tests.support.method_inputs import RECIPE, build_module, hinton_by_hand, list_weights, make_task, softmax

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

METHODS: list[tuple[ModuleType, dict[str, Any]]] = [
    (prune_channels, {"ratio": 0.5, "round_to": 2}),
    (round_weights, {"bits": 4}),
    (quantize_aware, {"runtime": "onnx"}),
]
NAMES = [method.__name__.split(".")[-1] for method, _ in METHODS]


@given(count=st.integers(1, 3), temperature=st.sampled_from([1.0, 4.0]), hard_weight=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_loss_is_that_of_hinton_towards_the_mean_prediction(
    count: int, temperature: float, hard_weight: float
) -> None:
    task, teachers = make_task(views=2), [build_network(seed) for seed in range(count)]
    batch = make_batch(task, [3, 9, 1], [0, 1, 1])
    recipe = TaughtRecipe(**RECIPE, temperature=temperature, hard_weight=hard_weight)
    loss = make_optional_loss(teachers, task, recipe, "round_weights")
    assert loss is not None
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    predictions = [
        softmax(compute_outputs(teacher, batch.inputs).double().numpy() / temperature) for teacher in teachers
    ]
    mean = temperature * np.log(np.mean(predictions, axis=0))
    expected = hinton_by_hand(logits.double().numpy(), mean, batch.targets.numpy(), temperature, hard_weight)
    assert float(loss(logits, batch)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("method", "options"), METHODS, ids=NAMES)
@pytest.mark.parametrize("teachers", [1, 2])
def test_a_method_trains_towards_its_teachers(method: ModuleType, options: dict[str, Any], teachers: int) -> None:
    task, module = make_task(views=2), build_module()
    teaching = [build_network(seed) for seed in range(1, 1 + teachers)]
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teaching]
    chosen = RECIPE | options | {"epochs": 20, "temperature": 1.0, "hard_weight": 0.0}
    alone = method.apply(copy.deepcopy(module), task, **chosen)
    taught = method.apply(copy.deepcopy(module), task, teachers=teaching, **chosen)

    def measure_distance(student: torch.nn.Module) -> float:
        mean = sum(compute_outputs(teacher, task.train.inputs).softmax(1) for teacher in teaching) / teachers
        return float((compute_outputs(student, task.train.inputs).softmax(1) - mean).abs().mean())

    assert measure_distance(taught) < 0.7 * measure_distance(alone)
    assert measure_quality(alone, task, task.train) > measure_quality(taught, task, task.train)
    for teacher, state in zip(teaching, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in teacher.state_dict().items())


def test_weights_are_rounded_with_a_teacher_too() -> None:
    rounded = round_weights.apply(build_module(), make_task(), teachers=[build_network(1)], bits=4, **RECIPE)
    for weight in list_weights(rounded):
        torch.testing.assert_close(round_weight(weight, 4), weight)


@pytest.mark.parametrize(("method", "options"), METHODS, ids=NAMES)
def test_no_teacher_gives_the_tasks_own_loss(method: ModuleType, options: dict[str, Any]) -> None:
    plain = method.apply(build_module(), make_task(), **RECIPE | options)
    other = method.apply(build_module(), make_task(), teachers=[], **RECIPE | options | {"temperature": 9.0})
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


def test_a_task_that_is_no_classification_needs_a_loss_of_its_own() -> None:
    task, recipe = dataclasses.replace(make_task(), is_classification=False), TaughtRecipe(**RECIPE)
    assert make_optional_loss([], task, recipe, "round_weights") is None
    with pytest.raises(ConfigError, match=r"^round_weights with a teacher compares class scores"):
        make_optional_loss([build_network(1)], task, recipe, "round_weights")
    own = dataclasses.replace(task, distillation_loss=torch.nn.functional.mse_loss)
    recipe = TaughtRecipe(**RECIPE, hard_weight=0.25)
    loss = make_optional_loss([build_network(1), build_network(2)], own, recipe, "round_weights")
    assert loss is not None
    batch = make_batch(own, [3, 9], [0, 0])
    outputs, *answers = (compute_outputs(build_network(seed), batch.inputs).double() for seed in range(3))
    hard = -np.log(softmax(outputs.numpy())[[0, 1], batch.targets.numpy()]).mean()
    soft = np.mean([((outputs - answer).numpy() ** 2).mean() for answer in answers])
    assert float(loss(outputs.float(), batch)) == pytest.approx(0.25 * hard + 0.75 * soft, rel=1e-5)
