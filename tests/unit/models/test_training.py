"""The training loop: reproducible to the bit, and the same arithmetic as a few lines of numpy."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models import training
from edgeproof.models.training import Batch, Recipe, TrainingTask
from edgeproof.networks import resnet8

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE = (1, 4, 4)


def task_of(
    samples: int = 40, *, views: int = 1, view: Callable[[torch.Tensor, int], torch.Tensor] | None = None, seed: int = 0
) -> TrainingTask:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(samples, *SHAPE, generator=generator)
    y = torch.arange(samples) % 3
    return TrainingTask("task", SHAPE, 3, x, y, x[:7], y[:7], views, view or (lambda batch, k: batch), seed, 1)


def recipe(**changes: Any) -> Recipe:
    plain = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    return Recipe.model_validate(plain | changes)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def state_of(module: nn.Module) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in module.state_dict().values()]


def trained(seed: int, order_seed: int = 0) -> list[bytes]:
    training.make_deterministic(seed, 1)
    module = resnet8.build(SHAPE, 3, widths=[4, 6], stem_stride=1)
    return state_of(training.fit(module, task_of(seed=order_seed), recipe()))


# --- reproducible --------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    assert trained(0) == trained(0)


def test_another_seed_of_the_initialization_gives_other_weights() -> None:
    assert trained(0) != trained(1)


def test_another_order_of_the_samples_gives_other_weights() -> None:
    assert trained(0, order_seed=0) != trained(0, order_seed=1)


def test_what_ran_before_does_not_change_the_weights() -> None:
    first = trained(0)
    torch.rand(1000)
    np.random.rand(10)
    assert trained(0) == first


def test_an_operation_that_cannot_be_reproduced_is_an_error() -> None:
    training.make_deterministic(0, 1)
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), accumulate=False)


def test_the_number_of_threads_is_the_recipes() -> None:
    training.make_deterministic(0, 2)
    assert torch.get_num_threads() == 2
    training.make_deterministic(0, 1)
    assert torch.get_num_threads() == 1


# --- the same arithmetic -------------------------------------------------------------------------------------------


def one_cycle(peak: float, steps: int) -> list[float]:
    """Cosine from peak/25 up to the peak over the first fifth of the steps, then down to peak/250000."""
    turn = 0.2 * steps - 1
    low, end = peak / 25, peak / 25 / 1e4

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2

    return [
        between(low, peak, t / turn) if t <= turn else between(peak, end, (t - turn) / (steps - 1 - turn))
        for t in range(steps)
    ]


def by_hand(
    module: nn.Module, batches: Sequence[Batch], chosen: Recipe, apart: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Nesterov's SGD on the mean cross-entropy of a linear layer, in numpy; `apart` is the bias's rate and decay."""
    ways = [(chosen.learning_rate, chosen.weight_decay), apart or (chosen.learning_rate, chosen.weight_decay)]
    parameters = [p.detach().double().numpy().copy() for p in module.parameters()]
    speeds = [np.zeros_like(p) for p in parameters]
    for shape, batch in zip(one_cycle(1.0, len(batches)), batches, strict=True):
        x, labels = batch.x.double().numpy().reshape(len(batch.x), -1), batch.labels.numpy()
        logits = x @ parameters[0].T + parameters[1]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        error = (odds / odds.sum(1, keepdims=True) - np.eye(3)[labels]) / len(x)
        gradients = [error.T @ x, error.sum(0)]
        for p, speed, gradient, (peak, decay) in zip(parameters, speeds, gradients, ways, strict=True):
            gradient = gradient + decay * p
            speed[...] = chosen.momentum * speed + gradient
            p -= peak * shape * (gradient + chosen.momentum * speed)
    return parameters[0], parameters[1]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_training_is_sgd_with_the_recipes_momentum_and_weight_decay_on_a_one_cycle_schedule(
    momentum: float, weight_decay: float
) -> None:
    chosen = recipe(epochs=4, momentum=momentum, weight_decay=weight_decay)
    module, seen = linear(), []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return training.cross_entropy(logits, batch)

    start = copy.deepcopy(module)
    training.fit(module, task_of(), chosen, loss=loss)
    assert len(seen) == 20
    weight, bias = by_hand(start, seen, chosen)
    np.testing.assert_allclose(module[1].weight.detach().numpy(), weight, atol=2e-5)
    np.testing.assert_allclose(module[1].bias.detach().numpy(), bias, atol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 10])
def test_any_number_of_steps_trains(steps: int) -> None:
    before = state_of(module := linear())
    training.fit(module, task_of(8 * steps), recipe(epochs=1))
    assert state_of(module) != before
    assert all(p.isfinite().all() for p in module.parameters())


def test_no_epochs_keep_the_weights_and_statistics_as_they_are() -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(SHAPE, 3, widths=[4], stem_stride=1)
    before = state_of(module)
    same = training.fit(module, task_of(), recipe(epochs=0))
    assert same is module
    assert state_of(module) == before
    assert not module.training


def test_training_learns_what_can_be_learned() -> None:
    x = torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(0))
    y = x.flatten(1)[:, :3].argmax(1)
    task = TrainingTask("task", SHAPE, 3, x, y, x, y, 1, lambda batch, k: batch, 0, 1)
    module = linear()
    training.fit(module, task, recipe(epochs=12, learning_rate=0.5))
    assert training.measure_accuracy(module, x, y) > 0.95
    assert not module.training


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_parameters_set_apart_have_their_own_learning_rate_and_no_weight_decay(momentum: float) -> None:
    chosen = recipe(epochs=4, momentum=momentum, weight_decay=0.05)
    module, seen = linear(), []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return training.cross_entropy(logits, batch)

    start = copy.deepcopy(module)
    training.fit(module, task_of(), chosen, loss=loss, apart=training.ParameterGroup([module[1].bias], 0.7))
    weight, bias = by_hand(start, seen, chosen, apart=(0.7, 0.0))
    np.testing.assert_allclose(module[1].weight.detach().numpy(), weight, atol=2e-5)
    np.testing.assert_allclose(module[1].bias.detach().numpy(), bias, atol=2e-5)


def test_a_proximal_step_is_told_the_learning_rate_of_the_step_that_it_follows() -> None:
    module, chosen, rates = linear(), recipe(epochs=2), []
    training.fit(module, task_of(), chosen, proximal=rates.append)
    np.testing.assert_allclose(rates, one_cycle(chosen.learning_rate, 10), rtol=1e-6)


def test_what_must_hold_after_a_step_comes_after_the_proximal_step() -> None:
    order: list[str] = []
    training.fit(
        linear(),
        task_of(8),
        recipe(epochs=2),
        proximal=lambda rate: order.append("proximal"),
        after_step=lambda: order.append("after"),
    )
    assert order == ["proximal", "after"] * 2


def test_what_runs_after_each_step_has_the_last_word_on_the_weights() -> None:
    module = linear()

    def clear() -> None:
        module[1].weight.data.zero_()

    training.fit(module, task_of(), recipe(), after_step=clear)
    assert not module[1].weight.any()
    assert module[1].bias.any()


# --- samples and views ---------------------------------------------------------------------------------------------


def batches_of(task: TrainingTask, chosen: Recipe) -> list[Batch]:
    seen = []

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return logits.sum() * 0

    training.fit(linear(), task, chosen, loss=loss)
    return seen


@pytest.mark.parametrize(("samples", "batch_size"), [(40, 8), (43, 8), (40, 64), (7, 7), (3, 8)])
def test_an_epoch_sees_no_sample_twice_and_leaves_out_less_than_a_batch(samples: int, batch_size: int) -> None:
    seen = batches_of(task_of(samples), recipe(epochs=3, batch_size=batch_size))
    assert len(seen) % 3 == 0
    steps = len(seen) // 3
    epochs = [torch.cat([batch.samples for batch in seen[i * steps : (i + 1) * steps]]).tolist() for i in range(3)]
    for order in epochs:
        assert len(set(order)) == len(order)
        assert samples - len(order) < min(batch_size, samples)
    if samples >= 40:
        assert epochs[0] != epochs[1]


def test_a_view_is_applied_to_the_samples_chosen_for_it_and_to_no_other() -> None:
    task = task_of(40, views=3, view=lambda x, k: x + 100 * k)
    kept = task.train_x.clone()
    seen = batches_of(task, recipe(epochs=5))
    for batch in seen:
        expected = kept[batch.samples] + 100 * batch.views.reshape(-1, 1, 1, 1)
        assert torch.equal(batch.x, expected)
        assert torch.equal(batch.labels, task.train_y[batch.samples])
    assert set(torch.cat([batch.views for batch in seen]).tolist()) == {0, 1, 2}
    assert torch.equal(task.train_x, kept)


# --- evaluation ----------------------------------------------------------------------------------------------------


def test_outputs_do_not_depend_on_how_the_samples_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(SHAPE, 3, widths=[4], stem_stride=1).train()
    x = torch.randn(7, *SHAPE)
    one_by_one = torch.cat([copy.deepcopy(module).eval()(x[i : i + 1]) for i in range(7)])
    monkeypatch.setattr(training, "EVALUATION_BATCH", 3)
    torch.testing.assert_close(training.compute_logits(module, x), one_by_one)


def test_evaluating_changes_neither_weights_nor_statistics() -> None:
    training.make_deterministic(0, 1)
    module = resnet8.build(SHAPE, 3, widths=[4], stem_stride=1).train()
    before = state_of(module)
    training.measure_accuracy(module, torch.randn(7, *SHAPE), torch.zeros(7, dtype=torch.long))
    assert state_of(module) == before


def test_accuracy_is_the_share_of_samples_whose_highest_output_is_their_label() -> None:
    x = torch.eye(4)[[0, 1, 2, 3, 0]].reshape(5, 4, 1, 1)
    assert training.measure_accuracy(nn.Flatten(), x, torch.tensor([0, 1, 2, 0, 1])) == 3 / 5


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
        recipe(**wrong)


# --- zeros ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_parent", [False, True])
@pytest.mark.parametrize("keep_zeros", [False, True])
def test_zeros_stay_where_they_are_a_parents_or_the_method_says_so(from_parent: bool, keep_zeros: bool) -> None:
    module = linear()
    weight, bias = module[1].weight, module[1].bias
    with torch.no_grad():
        weight[:, ::2] = 0.0
        bias.zero_()
    task = dataclasses.replace(task_of(), from_parent=from_parent)
    training.fit(module, task, recipe(weight_decay=0.01), keep_zeros=keep_zeros)
    assert bool((weight[:, ::2] == 0).all()) == (from_parent or keep_zeros)
    assert bool((weight[:, 1::2] != 0).all())
    assert bool((bias != 0).all())  # biases begin at zero, and are no weights


def test_training_that_diverges_says_so_and_what_to_change() -> None:
    with pytest.raises(ConfigError, match=r"diverged: after epoch 1 of 2 .* smaller learning_rate than 3e\+38"):
        training.fit(linear(), task_of(), recipe(learning_rate=3e38))
