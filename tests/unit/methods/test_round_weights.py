"""The method round_weights: levels, errors, and gradients through the rounding."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.methods import round_weights
from edgeproof.models import weight_rounding
from tests.support.method_inputs import RECIPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-1000, 1000, width=32).map(lambda v: v if abs(v) > 1e-20 else 0.0),
)


bits = st.integers(2, 8)


def round_array(weight: np.ndarray, count: int) -> np.ndarray:
    return weight_rounding.round_weight(torch.from_numpy(weight), count).numpy()


@given(weights, bits)
def test_a_channel_has_at_most_2_to_the_bits_minus_1_evenly_spaced_levels(weight: np.ndarray, count: int) -> None:
    for channel, original in zip(round_array(weight, count), weight, strict=True):
        max_level = 2 ** (count - 1) - 1
        assert len(np.unique(channel)) <= 2**count - 1
        step = np.abs(original).max() / max_level
        if step > 0:
            levels = channel.astype(float) / step
            np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
            assert np.abs(np.round(levels)).max() == max_level


@given(weights, bits)
def test_no_weight_moves_by_more_than_half_a_step(weight: np.ndarray, count: int) -> None:
    max_level = 2 ** (count - 1) - 1
    for channel, original in zip(round_array(weight, count), weight, strict=True):
        peak = float(np.abs(original).max())
        assert np.abs(channel.astype(float) - original).max() <= peak / max_level / 2 * (1 + 1e-4)


@given(weights, bits)
def test_rounding_twice_equals_rounding_once(weight: np.ndarray, count: int) -> None:
    once = round_array(weight, count)
    np.testing.assert_allclose(round_array(once, count), once, rtol=1e-6)


@given(weights, bits)
def test_rounding_is_symmetric_and_keeps_zeros(weight: np.ndarray, count: int) -> None:
    np.testing.assert_array_equal(round_array(-weight, count), -round_array(weight, count))
    assert not round_array(weight, count)[weight == 0].any()


@given(weights, bits, st.integers(0, 5))
def test_each_channel_is_rounded_independently(weight: np.ndarray, count: int, which: int) -> None:
    which %= len(weight)
    changed = weight.copy()
    changed[which] *= 3
    others = [i for i in range(len(weight)) if i != which]
    np.testing.assert_array_equal(round_array(changed, count)[others], round_array(weight, count)[others])


def test_a_channel_of_zeros_stays_zero() -> None:
    assert not round_array(np.zeros((2, 3), np.float32), 4).any()


def test_mean_rounding_error_shrinks_with_more_bits() -> None:
    weight = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    errors = [float(((round_array(weight, count) - weight) ** 2).mean()) for count in range(2, 9)]
    assert errors == sorted(errors, reverse=True)
    # One more bit halves the step, so with small steps the squared error falls about fourfold.
    assert 3 < errors[-2] / errors[-1] < 5


@pytest.mark.parametrize("epochs", [0, 3])
def test_rounded_weights_are_stored_as_ordinary_tensors_with_few_values(module: nn.Module, epochs: int) -> None:
    names = list(module.state_dict())
    plain = copy.deepcopy(module)
    round_weights.apply(module, make_task(), **RECIPE | {"epochs": epochs}, bits=3)
    assert sorted(module.state_dict()) == sorted(names)
    assert not any(parametrize.is_parametrized(layer) for layer in module.modules())
    for weight in list_weights(module):
        assert all(len(channel.unique()) <= 7 for channel in weight)
    if epochs == 0:
        for weight, original in zip(list_weights(module), list_weights(plain), strict=True):
            np.testing.assert_array_equal(weight.numpy(), round_array(original.numpy(), 3))


def test_straight_through_gradient_lets_weights_cross_zero(module: nn.Module) -> None:
    # With the gradient of the rounding itself, only the largest weight of a channel could change sign.
    still = copy.deepcopy(module)
    round_weights.apply(still, make_task(), **RECIPE | {"epochs": 0}, bits=2)
    options = RECIPE | {"epochs": 6, "learning_rate": 0.3, "weight_decay": 0}
    round_weights.apply(module, make_task(), **options, bits=2)
    crossed = sum(int((a * b < 0).sum()) for a, b in zip(list_weights(still), list_weights(module), strict=True))
    assert crossed > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 1},
        {"bits": 9},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        round_weights.Options.model_validate(RECIPE | wrong)
