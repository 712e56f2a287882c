"""The method quantize_mixed: sensitivities, the choice of bits against brute force, and the bits of the result."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.methods import prune_weights, quantize_mixed, round_weights
from edgeproof.models import layers, training
from edgeproof.models.training_task import TrainingTask
from edgeproof.networks import resnet8
from tests.support.method_inputs import RECIPE, SHAPE, list_weights, make_task
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

MIXED = {"bits": [2, 4, 8], "mean_bits": 3.5, "samples": 24}


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    built = resnet8.build(*make_ports(SHAPE, 4), widths=[8, 16], stem_stride=1)
    return training.fit(built, make_task(), training.Recipe(**RECIPE | {"epochs": 4}))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sets(st.integers(2, 8), min_size=1, max_size=4), st.data())
def test_no_allocation_within_the_budget_has_a_smaller_cost(
    seed: int, count: int, offered: set[int], data: st.DataObject
) -> None:
    bits, rng = sorted(offered), np.random.default_rng(seed)
    sizes = rng.integers(1, 10 ** rng.integers(1, 7), count).tolist()
    sensitivities = rng.standard_normal((count, len(bits))) * 10.0 ** rng.integers(-9, 3)
    if data.draw(st.booleans()):
        sensitivities = np.round(sensitivities, 1)  # ties
    mean_bits = data.draw(st.floats(bits[0], bits[-1]))
    budget = round(mean_bits * sum(sizes), 6)
    chosen = quantize_mixed.allocate_bits(sensitivities, sizes, bits, mean_bits)

    def count_bits(widths: tuple[int, ...]) -> int:
        return sum(size * width for size, width in zip(sizes, widths, strict=True))

    def cost(widths: tuple[int, ...]) -> float:
        return float(sum(sensitivities[i, bits.index(width)] for i, width in enumerate(widths)))

    best = min(cost(widths) for widths in itertools.product(bits, repeat=count) if count_bits(widths) <= budget)
    assert count_bits(tuple(chosen)) <= budget
    assert cost(tuple(chosen)) <= best + 1e-9 * max(float(np.ptp(sensitivities)), 1e-300)


def test_the_largest_and_smallest_budgets_allow_one_allocation() -> None:
    sensitivities = np.array([[3.0, 2.0, 1.0]] * 4)
    assert quantize_mixed.allocate_bits(sensitivities, [10, 20, 30, 40], [2, 4, 8], 8.0) == [8] * 4
    assert quantize_mixed.allocate_bits(sensitivities, [10, 20, 30, 40], [2, 4, 8], 2.0) == [2] * 4


def test_the_most_sensitive_layer_for_its_size_gets_the_bits() -> None:
    sensitivities = np.array([[1.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    assert quantize_mixed.allocate_bits(sensitivities, [10, 100, 100], [2, 8], 2 + 6 * 110 / 210) == [8, 2, 8]


def test_sensitivity_is_the_increase_of_the_loss_with_one_layer_rounded(module: nn.Module) -> None:
    task = make_task()
    sensitivities = quantize_mixed.measure_sensitivities(module, task, 32, [2, 4])

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            logits = network.eval()(task.train.inputs[0]).double().numpy()
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return float(-np.log(odds[np.arange(32), task.train.targets] / odds.sum(1)).mean())

    names = list(layers.find_weighted_layers(module))
    assert sensitivities.shape == (len(names), 2)
    for (i, name), (j, bits) in itertools.product(enumerate(names), enumerate([2, 4])):
        other = copy.deepcopy(module)
        weight = other.get_submodule(name).weight
        levels = 2 ** (bits - 1) - 1
        with torch.no_grad():
            for channel in weight:
                step = float(channel.abs().max()) / levels
                channel.copy_((channel / step).round() * step)
        assert sensitivities[i, j] == pytest.approx(loss(other) - loss(module), abs=1e-5)


def test_measuring_sensitivities_changes_no_weight(module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    quantize_mixed.measure_sensitivities(module, make_task(), 32, [2, 8])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_mean_sensitivity_shrinks_with_more_bits(module: nn.Module) -> None:
    sensitivities = quantize_mixed.measure_sensitivities(module, make_task(), 32, [2, 4, 8])
    means = np.abs(sensitivities).mean(0).tolist()
    assert means == sorted(means, reverse=True)


def test_only_the_first_samples_are_measured(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    task, seen = make_task(), []
    plain = quantize_mixed.measure_sensitivities

    def look(model: nn.Module, task: TrainingTask, samples: int, bits: Any) -> Any:
        seen.append(plain(model, task, samples, bits))
        return seen[0]

    first = dataclasses.replace(task, train=task.train.select(slice(24)))
    expected = plain(module, first, 32, MIXED["bits"])
    monkeypatch.setattr(quantize_mixed, "measure_sensitivities", look)
    quantize_mixed.apply(module, task, **RECIPE | MIXED)
    assert np.array_equal(seen[0], expected)


def find_bits(weight: torch.Tensor, offered: list[int]) -> int:
    """Return the smallest number of bits for which all weights are on levels."""
    for bits in offered:
        levels = 2 ** (bits - 1) - 1
        steps = weight.double().flatten(1)
        steps = steps / steps.abs().amax(1, keepdim=True) * levels
        if float((steps - steps.round()).abs().max()) < 1e-4:
            return bits
    raise AssertionError("the weights are on the levels of none of the offered bits")


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("mean_bits", [2.5, 3.5, 5.0])
def test_bits_read_from_the_weights_are_optimal_and_within_the_budget(
    epochs: int, mean_bits: float, module: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task()
    sizes = [w.numel() for w in list_weights(module)]
    sensitivities = quantize_mixed.measure_sensitivities(module, task, 24, [2, 4, 8])
    budget = mean_bits * sum(sizes)
    best = min(
        sum(sensitivities[i, [2, 4, 8].index(width)] for i, width in enumerate(widths))
        for widths in itertools.product([2, 4, 8], repeat=len(sizes))
        if sum(size * width for size, width in zip(sizes, widths, strict=True)) <= budget
    )
    quantize_mixed.apply(module, task, **RECIPE | MIXED | {"epochs": epochs, "mean_bits": mean_bits})
    widths_read = {
        name: find_bits(layer.weight.detach(), [2, 4, 8]) for name, layer in layers.find_weighted_layers(module).items()
    }
    assert sum(size * width for size, width in zip(sizes, widths_read.values(), strict=True)) <= budget
    assert len(set(widths_read.values())) > 1
    cost = sum(sensitivities[i, [2, 4, 8].index(width)] for i, width in enumerate(widths_read.values()))
    assert cost == pytest.approx(best, abs=1e-9)
    assert f"bits: {', '.join(f'{name} {width}' for name, width in widths_read.items())}" in capsys.readouterr().err


def test_one_width_for_all_layers_equals_round_weights(module: nn.Module) -> None:
    other = copy.deepcopy(module)
    quantize_mixed.apply(module, make_task(), **RECIPE | MIXED | {"bits": [4], "mean_bits": 4})
    round_weights.apply(other, make_task(), **RECIPE, bits=4)
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(list_weights(module), list_weights(other), strict=True)
    )


def test_zero_weights_stay_zero(module: nn.Module) -> None:
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.6, scope="layer")
    zeros = [w == 0 for w in list_weights(module)]
    quantize_mixed.apply(module, make_task(), **RECIPE | MIXED | {"epochs": 2})
    for weight, zero in zip(list_weights(module), zeros, strict=True):
        assert not weight[zero].any()
        assert not weight[weight == 0].signbit().any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": []},
        {"bits": [1, 4]},
        {"bits": [4, 9]},
        {"bits": [4, 2]},
        {"bits": [4, 4]},
        {"mean_bits": 1.9},
        {"mean_bits": 8.1},
        {"mean_bits": math.nan},
        {"samples": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quantize_mixed.Options.model_validate(RECIPE | MIXED | wrong)
