"""The method quantize_linear: levels and ranges in plain numpy."""

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

from edgeproof.methods import quantize_linear
from tests.support.method_inputs import RECIPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

LINEAR = {"bits": 3, "symmetric": False, "per": "channel", "clipping": "minmax"}


rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.floats(-1000, 1000, width=32).map(lambda v: v if abs(v) > 1e-10 else 0.0),
)


bits = st.integers(2, 8)


def quantize_array(weights: np.ndarray, count: int, symmetric: bool, clipping: Any = "minmax") -> np.ndarray:
    tensor = torch.from_numpy(weights)
    ends = quantize_linear.find_range(tensor, count, symmetric=symmetric, clipping=clipping)
    return quantize_linear.quantize(tensor, *ends, count).numpy()


def quantize_by_hand(row: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    x, top = np.clip(row.astype(float), low, high), 2**count - 1
    if low == high:
        return x
    return low + np.round((x - low) / (high - low) * top) * (high - low) / top


def find_ends_by_hand(row: np.ndarray, symmetric: bool) -> tuple[float, float]:
    low, high = (-np.abs(row).max(), np.abs(row).max()) if symmetric else (row.min(), row.max())
    return float(low), float(high)


@given(rows, bits, st.booleans())
def test_levels_are_evenly_spaced_and_no_weight_moves_by_more_than_half_a_step(
    weights: np.ndarray, count: int, symmetric: bool
) -> None:
    for row, quantized in zip(weights, quantize_array(weights, count, symmetric), strict=True):
        low, high = find_ends_by_hand(row, symmetric)
        step = (high - low) / (2**count - 1)
        slack = 1e-6 * max(abs(low), abs(high))
        assert np.abs(quantized.astype(float) - row).max() <= step / 2 + slack
        assert len(np.unique(quantized)) <= 2**count
        if step > 0:
            level = (quantized - low) / step
            np.testing.assert_allclose(level, np.round(level), atol=0.01)
            assert level.min() > -0.01
            assert level.max() < 2**count - 1 + 0.01


@given(st.integers(0, 2**32 - 1), bits, st.booleans())
def test_levels_equal_the_formula(seed: int, count: int, symmetric: bool) -> None:
    weights = np.random.default_rng(seed).standard_normal((3, 50)).astype(np.float32)
    for row, quantized in zip(weights, quantize_array(weights, count, symmetric), strict=True):
        np.testing.assert_allclose(
            quantized, quantize_by_hand(row, *find_ends_by_hand(row, symmetric), count), atol=1e-5
        )


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", range(2, 9))
def test_many_weights_use_all_2_to_the_bits_levels(count: int, symmetric: bool) -> None:
    weights = np.linspace(-0.3 if not symmetric else -1, 1, 5000, dtype=np.float32)[None]
    assert len(np.unique(quantize_array(weights, count, symmetric))) == 2**count


@given(rows, bits, st.booleans())
def test_quantizing_twice_equals_quantizing_once(weights: np.ndarray, count: int, symmetric: bool) -> None:
    once = quantize_array(weights, count, symmetric)
    if not symmetric or (np.abs(once).max(1) == np.abs(weights).max(1)).all():
        scale = np.abs(weights).max() + 1e-30
        np.testing.assert_allclose(quantize_array(once, count, symmetric) / scale, once / scale, atol=1e-5)


@given(rows, st.floats(51, 99.9))
def test_a_percentile_range_equals_that_of_numpy(weights: np.ndarray, percentile: float) -> None:
    tensor = torch.from_numpy(weights)
    low, high = quantize_linear.find_range(tensor, 4, symmetric=False, clipping=percentile)
    tolerance = 1e-5 * np.abs(weights).max() + 1e-30
    np.testing.assert_allclose(low[:, 0], np.percentile(weights, 100 - percentile, axis=1), atol=tolerance)
    np.testing.assert_allclose(high[:, 0], np.percentile(weights, percentile, axis=1), atol=tolerance)
    low, high = quantize_linear.find_range(tensor, 4, symmetric=True, clipping=percentile)
    np.testing.assert_allclose(high[:, 0], np.percentile(np.abs(weights), percentile, axis=1), atol=tolerance)
    assert torch.equal(low, -high)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_mse_range_is_the_best_of_twenty_for_each_row(count: int, symmetric: bool) -> None:
    weights = np.random.default_rng(1).standard_t(3, (4, 200)).astype(np.float32)
    chosen = quantize_array(weights, count, symmetric, "mse")
    for row, quantized in zip(weights, chosen, strict=True):
        low, high = find_ends_by_hand(row, symmetric)
        errors = [((quantize_by_hand(row, low * k / 20, high * k / 20, count) - row) ** 2).mean() for k in range(1, 21)]
        assert ((quantized - row) ** 2).mean() == pytest.approx(min(errors), rel=1e-3)
        assert count > 2 or min(errors) < errors[-1] / 1.2  # heavy tails at few bits: clipping pays


@pytest.mark.parametrize("clipping", ["minmax", "mse", 99.0])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_equal_weights_do_not_change(clipping: Any, symmetric: bool, value: float) -> None:
    weights = np.full((2, 3), value, np.float32)
    np.testing.assert_allclose(quantize_array(weights, 4, symmetric, clipping), weights, rtol=1e-6)


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_a_range_is_computed_for_each_tensor_or_each_channel(module: nn.Module, per: str) -> None:
    plain = copy.deepcopy(module)
    quantize_linear.apply(module, make_task(), **RECIPE | LINEAR | {"epochs": 0, "per": per})
    for weight, original in zip(list_weights(module), list_weights(plain), strict=True):
        shape = (1, -1) if per == "tensor" else (len(original), -1)
        for quantized, row in zip(weight.reshape(shape).numpy(), original.reshape(shape).numpy(), strict=True):
            np.testing.assert_allclose(quantized, quantize_by_hand(row, row.min(), row.max(), 3), atol=1e-6)
            assert len(np.unique(quantized)) <= 8


@pytest.mark.parametrize(
    "wrong",
    [
        LINEAR | {"bits": 1},
        LINEAR | {"bits": 9},
        LINEAR | {"per": "layer"},
        LINEAR | {"clipping": "max"},
        LINEAR | {"clipping": 50},
        LINEAR | {"clipping": 100},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quantize_linear.Options.model_validate(RECIPE | wrong)
