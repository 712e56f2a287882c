"""Bit widths layer by layer: the choice against brute force, and the widths read back from the weights alone."""

from __future__ import annotations

import copy
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
from edgeproof.models import layers, training, weight_rounding
from edgeproof.networks import resnet8
from tests.unit.methods.test_methods import RECIPE, SHAPE, task_of, weights_of

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

MIXED = {"bits": [2, 4, 8], "mean_bits": 3.5, "samples": 24}


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    built = resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)
    return training.fit(built, task_of(), training.Recipe(**RECIPE | {"epochs": 4}))


# --- the choice ----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sets(st.integers(2, 8), min_size=1, max_size=4), st.data())
def test_no_choice_within_the_budget_has_a_smaller_sum(
    seed: int, count: int, offered: set[int], data: st.DataObject
) -> None:
    bits, rng = sorted(offered), np.random.default_rng(seed)
    sizes = rng.integers(1, 10 ** rng.integers(1, 7), count).tolist()
    rises = rng.standard_normal((count, len(bits))) * 10.0 ** rng.integers(-9, 3)
    if data.draw(st.booleans()):
        rises = np.round(rises, 1)  # ties
    mean_bits = data.draw(st.floats(bits[0], bits[-1]))
    budget = round(mean_bits * sum(sizes), 6)
    chosen = quantize_mixed.allocate_bits(rises, sizes, bits, mean_bits)

    def used(widths: tuple[int, ...]) -> int:
        return sum(size * width for size, width in zip(sizes, widths, strict=True))

    def cost(widths: tuple[int, ...]) -> float:
        return float(sum(rises[i, bits.index(width)] for i, width in enumerate(widths)))

    best = min(cost(widths) for widths in itertools.product(bits, repeat=count) if used(widths) <= budget)
    assert used(tuple(chosen)) <= budget
    assert cost(tuple(chosen)) <= best + 1e-9 * max(float(np.ptp(rises)), 1e-300)


def test_the_whole_budget_or_the_least_of_it_leaves_no_choice() -> None:
    rises = np.array([[3.0, 2.0, 1.0]] * 4)
    assert quantize_mixed.allocate_bits(rises, [10, 20, 30, 40], [2, 4, 8], 8.0) == [8] * 4
    assert quantize_mixed.allocate_bits(rises, [10, 20, 30, 40], [2, 4, 8], 2.0) == [2] * 4


def test_the_layer_that_suffers_most_for_its_size_gets_the_bits() -> None:
    rises = np.array([[1.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    assert quantize_mixed.allocate_bits(rises, [10, 100, 100], [2, 8], 2 + 6 * 110 / 210) == [8, 2, 8]


# --- the measurement -----------------------------------------------------------------------------------------------


def test_a_layers_sensitivity_is_the_rise_of_the_training_loss_with_that_layer_alone_rounded(module: nn.Module) -> None:
    task = task_of()
    rises = quantize_mixed.measure_sensitivities(module, task.train_x, task.train_y, [2, 4])

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            logits = network.eval()(task.train_x).double().numpy()
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return float(-np.log(odds[np.arange(32), task.train_y] / odds.sum(1)).mean())

    names = list(layers.find_weighted_layers(module))
    assert rises.shape == (len(names), 2)
    for (i, name), (j, bits) in itertools.product(enumerate(names), enumerate([2, 4])):
        other = copy.deepcopy(module)
        weight = other.get_submodule(name).weight
        levels = 2 ** (bits - 1) - 1
        with torch.no_grad():
            for channel in weight:
                step = float(channel.abs().max()) / levels
                channel.copy_((channel / step).round() * step)
        assert rises[i, j] == pytest.approx(loss(other) - loss(module), abs=1e-5)


def test_measuring_leaves_every_weight_as_it_was(module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    quantize_mixed.measure_sensitivities(module, task_of().train_x, task_of().train_y, [2, 8])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_on_average_over_layers_the_loss_rises_less_with_more_bits(module: nn.Module) -> None:
    rises = quantize_mixed.measure_sensitivities(module, task_of().train_x, task_of().train_y, [2, 4, 8])
    means = np.abs(rises).mean(0).tolist()
    assert means == sorted(means, reverse=True)


def test_only_the_first_samples_are_looked_at(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = quantize_mixed.measure_sensitivities

    def look(model: nn.Module, x: torch.Tensor, labels: torch.Tensor, bits: Any) -> Any:
        seen.append((x, labels))
        return plain(model, x, labels, bits)

    monkeypatch.setattr(quantize_mixed, "measure_sensitivities", look)
    quantize_mixed.apply(module, task_of(), **RECIPE | MIXED)
    assert torch.equal(seen[0][0], task_of().train_x[:24])
    assert torch.equal(seen[0][1], task_of().train_y[:24])


# --- the model -----------------------------------------------------------------------------------------------------


def width_of(weight: torch.Tensor, offered: list[int]) -> int:
    """The least width on whose levels all weights are, from the weights alone."""
    for bits in offered:
        levels = 2 ** (bits - 1) - 1
        steps = weight.double().flatten(1)
        steps = steps / steps.abs().amax(1, keepdim=True) * levels
        if float((steps - steps.round()).abs().max()) < 1e-4:
            return bits
    raise AssertionError("the weights are on no levels that were offered")


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("mean_bits", [2.5, 3.5, 5.0])
def test_the_widths_read_from_the_weights_are_those_that_were_chosen_and_keep_the_budget(
    epochs: int, mean_bits: float, module: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of()
    sizes = [w.numel() for w in weights_of(module)]
    rises = quantize_mixed.measure_sensitivities(module, task.train_x[:24], task.train_y[:24], [2, 4, 8])
    budget = mean_bits * sum(sizes)
    best = min(
        sum(rises[i, [2, 4, 8].index(width)] for i, width in enumerate(widths))
        for widths in itertools.product([2, 4, 8], repeat=len(sizes))
        if sum(size * width for size, width in zip(sizes, widths, strict=True)) <= budget
    )
    quantize_mixed.apply(module, task, **RECIPE | MIXED | {"epochs": epochs, "mean_bits": mean_bits})
    found = {name: width_of(layer.weight.detach(), [2, 4, 8]) for name, layer in layers.find_weighted_layers(module).items()}
    assert sum(size * width for size, width in zip(sizes, found.values(), strict=True)) <= budget
    assert len(set(found.values())) > 1
    cost = sum(rises[i, [2, 4, 8].index(width)] for i, width in enumerate(found.values()))
    assert cost == pytest.approx(best, abs=1e-9)
    assert f"bits: {', '.join(f'{name} {width}' for name, width in found.items())}" in capsys.readouterr().err


def test_one_width_for_all_is_round_weights_to_the_bit(module: nn.Module) -> None:
    other = copy.deepcopy(module)
    quantize_mixed.apply(module, task_of(), **RECIPE | MIXED | {"bits": [4], "mean_bits": 4})
    round_weights.apply(other, task_of(), **RECIPE, bits=4)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(weights_of(module), weights_of(other), strict=True))


def test_what_was_pruned_stays_pruned(module: nn.Module) -> None:
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.6, scope="layer")
    zeros = [w == 0 for w in weights_of(module)]
    quantize_mixed.apply(module, task_of(), **RECIPE | MIXED | {"epochs": 2})
    for weight, zero in zip(weights_of(module), zeros, strict=True):
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
