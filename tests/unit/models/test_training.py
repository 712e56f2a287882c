"""The training loop: reproducible to the bit, and equal to a few lines of numpy."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models import training, training_task
from edgeproof.models.training import Recipe
from edgeproof.models.training_task import Batch, TrainingTask, compute_outputs, cross_entropy, measure_quality
from edgeproof.networks import resnet8
from tests.support.one_cycle import one_cycle
from tests.support.training_tasks import View, make_ports, make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE = (1, 4, 4)


def make_task(samples: int = 40, *, views: int = 1, view: View = lambda x, k: x, seed: int = 0) -> TrainingTask:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(samples, *SHAPE, generator=generator)
    y = torch.arange(samples) % 3
    return make_training_task(x, y, 3, validation_samples=7, views=views, view=view, seed=seed)


def make_recipe(**changes: Any) -> Recipe:
    plain = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    return Recipe.model_validate(plain | changes)


def build_linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def read_state(module: nn.Module) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in module.state_dict().values()]


def train_resnet(seed: int, order_seed: int = 0) -> list[bytes]:
    training.make_deterministic(seed, 1)
    module = resnet8.build(*make_ports(SHAPE, 3), widths=[4, 6], stem_stride=1)
    return read_state(training.fit(module, make_task(seed=order_seed), make_recipe()))


# --- reproducible --------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_identical_weights() -> None:
    assert train_resnet(0) == train_resnet(0)


def test_another_seed_of_the_initialization_gives_other_weights() -> None:
    assert train_resnet(0) != train_resnet(1)


def test_another_order_of_the_samples_gives_other_weights() -> None:
    assert train_resnet(0, order_seed=0) != train_resnet(0, order_seed=1)


def test_earlier_random_numbers_do_not_change_the_weights() -> None:
    first = train_resnet(0)
    torch.rand(1000)
    np.random.rand(10)
    assert train_resnet(0) == first


def test_an_operation_that_cannot_be_reproduced_is_an_error() -> None:
    training.make_deterministic(0, 1)
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), accumulate=False)


def test_the_number_of_threads_is_set() -> None:
    training.make_deterministic(0, 2)
    assert torch.get_num_threads() == 2
    training.make_deterministic(0, 1)
    assert torch.get_num_threads() == 1


# --- the same arithmetic -------------------------------------------------------------------------------------------


def train_by_hand(
    module: nn.Module, batches: Sequence[Batch], chosen: Recipe, bias_recipe: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Train a linear layer by SGD with Nesterov momentum in numpy. `bias_recipe` is the bias's own rate and decay."""
    rates_and_decays = [
        (chosen.learning_rate, chosen.weight_decay),
        bias_recipe or (chosen.learning_rate, chosen.weight_decay),
    ]
    parameters = [p.detach().double().numpy().copy() for p in module.parameters()]
    speeds = [np.zeros_like(p) for p in parameters]
    for shape, batch in zip(one_cycle(1.0, len(batches)), batches, strict=True):
        x, labels = batch.inputs[0].double().numpy().reshape(len(batch.inputs[0]), -1), batch.targets.numpy()
        logits = x @ parameters[0].T + parameters[1]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        error = (odds / odds.sum(1, keepdims=True) - np.eye(3)[labels]) / len(x)
        gradients = [error.T @ x, error.sum(0)]
        for p, speed, gradient, (peak, decay) in zip(parameters, speeds, gradients, rates_and_decays, strict=True):
            gradient = gradient + decay * p
            speed[...] = chosen.momentum * speed + gradient
            p -= peak * shape * (gradient + chosen.momentum * speed)
    return parameters[0], parameters[1]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_training_equals_sgd_with_a_one_cycle_schedule_in_numpy(momentum: float, weight_decay: float) -> None:
    chosen = make_recipe(epochs=4, momentum=momentum, weight_decay=weight_decay)
    module, seen = build_linear(), []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return cross_entropy(logits, batch)

    start = copy.deepcopy(module)
    training.fit(module, make_task(), chosen, loss=loss)
    assert len(seen) == 20
    weight, bias = train_by_hand(start, seen, chosen)
    np.testing.assert_allclose(module[1].weight.detach().numpy(), weight, atol=2e-5)
    np.testing.assert_allclose(module[1].bias.detach().numpy(), bias, atol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 10])
def test_any_number_of_steps_changes_the_weights(steps: int) -> None:
    before = read_state(module := build_linear())
    training.fit(module, make_task(8 * steps), make_recipe(epochs=1))
    assert read_state(module) != before
    assert all(p.isfinite().all() for p in module.parameters())


def test_zero_epochs_change_neither_weights_nor_statistics() -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(*make_ports(SHAPE, 3), widths=[4], stem_stride=1)
    before = read_state(module)
    same = training.fit(module, make_task(), make_recipe(epochs=0))
    assert same is module
    assert read_state(module) == before
    assert not module.training


def test_training_learns_a_learnable_task() -> None:
    x = torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(0))
    y = x.flatten(1)[:, :3].argmax(1)
    task = make_training_task(x, y, 3)
    module = build_linear()
    training.fit(module, task, make_recipe(epochs=12, learning_rate=0.5))
    assert measure_quality(module, task, task.validation) > 0.95
    assert not module.training


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_separate_group_has_its_own_learning_rate_and_no_weight_decay(momentum: float) -> None:
    chosen = make_recipe(epochs=4, momentum=momentum, weight_decay=0.05)
    module, seen = build_linear(), []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return cross_entropy(logits, batch)

    start = copy.deepcopy(module)
    training.fit(module, make_task(), chosen, loss=loss, separate_group=training.ParameterGroup([module[1].bias], 0.7))
    weight, bias = train_by_hand(start, seen, chosen, bias_recipe=(0.7, 0.0))
    np.testing.assert_allclose(module[1].weight.detach().numpy(), weight, atol=2e-5)
    np.testing.assert_allclose(module[1].bias.detach().numpy(), bias, atol=2e-5)


def test_a_proximal_step_gets_the_learning_rate_of_its_step() -> None:
    module, chosen, rates = build_linear(), make_recipe(epochs=2), []
    training.fit(module, make_task(), chosen, proximal=rates.append)
    np.testing.assert_allclose(rates, one_cycle(chosen.learning_rate, 10), rtol=1e-6)


def test_after_step_runs_after_the_proximal_step() -> None:
    order: list[str] = []
    training.fit(
        build_linear(),
        make_task(8),
        make_recipe(epochs=2),
        proximal=lambda rate: order.append("proximal"),
        after_step=lambda: order.append("after"),
    )
    assert order == ["proximal", "after"] * 2


def test_after_step_changes_the_final_weights() -> None:
    module = build_linear()

    def clear() -> None:
        module[1].weight.data.zero_()

    training.fit(module, make_task(), make_recipe(), after_step=clear)
    assert not module[1].weight.any()
    assert module[1].bias.any()


# --- samples and views ---------------------------------------------------------------------------------------------


def record_batches(task: TrainingTask, chosen: Recipe) -> list[Batch]:
    seen = []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return logits.sum() * 0

    training.fit(build_linear(), task, chosen, loss=loss)
    return seen


@pytest.mark.parametrize(("samples", "batch_size"), [(40, 8), (43, 8), (40, 64), (7, 7), (3, 8)])
def test_an_epoch_uses_each_sample_once_except_an_incomplete_batch(samples: int, batch_size: int) -> None:
    seen = record_batches(make_task(samples), make_recipe(epochs=3, batch_size=batch_size))
    assert len(seen) % 3 == 0
    steps = len(seen) // 3
    epochs = [torch.cat([batch.samples for batch in seen[i * steps : (i + 1) * steps]]).tolist() for i in range(3)]
    for order in epochs:
        assert len(set(order)) == len(order)
        assert samples - len(order) < min(batch_size, samples)
    if samples >= 40:
        assert epochs[0] != epochs[1]


def test_a_view_is_applied_only_to_its_samples() -> None:
    task = make_task(40, views=3, view=lambda x, k: x + 100 * k)
    inputs_before = task.train.inputs[0].clone()
    seen = record_batches(task, make_recipe(epochs=5))
    for batch in seen:
        expected = inputs_before[batch.samples] + 100 * batch.views.reshape(-1, 1, 1, 1)
        assert torch.equal(batch.inputs[0], expected)
        assert torch.equal(batch.targets, task.train.targets[batch.samples])
    assert set(torch.cat([batch.views for batch in seen]).tolist()) == {0, 1, 2}
    assert torch.equal(task.train.inputs[0], inputs_before)


# --- evaluation ----------------------------------------------------------------------------------------------------


def test_logits_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(*make_ports(SHAPE, 3), widths=[4], stem_stride=1).train()
    x = torch.randn(7, *SHAPE)
    one_by_one = torch.cat([copy.deepcopy(module).eval()(x[i : i + 1]) for i in range(7)])
    monkeypatch.setattr(training_task, "EVALUATION_BATCH", 3)
    torch.testing.assert_close(compute_outputs(module, (x,)), one_by_one)


def test_evaluating_changes_neither_weights_nor_statistics() -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(*make_ports(SHAPE, 3), widths=[4], stem_stride=1).train()
    before = read_state(module)
    task = make_task()
    measure_quality(module, task, task.validation)
    assert read_state(module) == before


def test_accuracy_is_the_share_of_correct_samples() -> None:
    x = torch.eye(4)[[0, 1, 2, 3, 0]].reshape(5, 4, 1, 1)
    task = make_training_task(x, torch.tensor([0, 1, 2, 0, 1]), 4)
    assert measure_quality(nn.Flatten(), task, task.validation) == 3 / 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"learning_rate": 0},
        {"learning_rate": -0.1},
        {"momentum": 1},
        {"momentum": -0.1},
        {"weight_decay": -1},
        {"epochs": 1.5},
        {"lerning_rate": 0.1},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_recipe(**wrong)


# --- zeros ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_parent", [False, True])
@pytest.mark.parametrize("keep_zeros", [False, True])
def test_zeros_are_held_for_a_parent_or_on_request(from_parent: bool, keep_zeros: bool) -> None:
    module = build_linear()
    weight, bias = module[1].weight, module[1].bias
    with torch.no_grad():
        weight[:, ::2] = 0.0
        bias.zero_()
    task = dataclasses.replace(make_task(), from_parent=from_parent)
    training.fit(module, task, make_recipe(weight_decay=0.01), keep_zeros=keep_zeros)
    assert bool((weight[:, ::2] == 0).all()) == (from_parent or keep_zeros)
    assert bool((weight[:, 1::2] != 0).all())
    assert bool((bias != 0).all())  # biases start at zero and are not weights


def test_diverged_training_is_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"diverged: after epoch 1 of 2, .* learning_rate below 3e\+38"):
        training.fit(build_linear(), make_task(), make_recipe(learning_rate=3e38))
