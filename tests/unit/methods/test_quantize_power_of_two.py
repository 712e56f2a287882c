"""The method quantize_power_of_two against the levels of its paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from edgeproof.methods import quantize_power_of_two
from tests.support.method_inputs import RECIPE

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.floats(-1000, 1000, width=32).map(lambda v: v if abs(v) > 1e-10 else 0.0),
)


def list_levels_by_hand(peak: float, count: int) -> np.ndarray:
    n1 = int(np.floor(np.log2(4 * peak / 3)))
    n2 = n1 + 1 - 2 ** (count - 1) // 2
    powers = 2.0 ** np.arange(n2, n1 + 1)
    return np.concatenate([-powers, [0.0], powers])


@given(rows, st.integers(2, 6))
def test_every_weight_is_rounded_to_the_nearest_level_of_the_paper(weights: np.ndarray, count: int) -> None:
    rounded = quantize_power_of_two.round_to_power_of_two(torch.from_numpy(weights), count).numpy().astype(float)
    peak = float(np.abs(weights).max())
    if peak == 0:
        assert not rounded.any()
        return
    levels = list_levels_by_hand(peak, count)
    if abs(np.log2(4 * peak / 3) % 1) > 1e-6:  # else the logarithm above may round to the other side
        assert np.isin(rounded, levels).all()
        np.testing.assert_array_equal(
            np.abs(rounded - weights), np.abs(levels - weights[..., None].astype(float)).min(-1)
        )
    assert set(np.frexp(rounded[rounded != 0])[0]) <= {0.5, -0.5}
    assert len(np.unique(rounded)) <= 2 ** (count - 1) + 1


@pytest.mark.parametrize(
    ("weight", "level"), [(1.0, 1.0), (0.75, 1.0), (0.7499, 0.5), (0.5, 0.5), (0.3751, 0.5), (0.25, 0.5), (0.2499, 0)]
)
def test_midpoints_are_rounded_up_and_very_small_weights_to_zero(weight: float, level: float) -> None:
    tensor = torch.tensor([[1.2, weight, -weight]])  # 3 bits: 1 and 1/2
    assert quantize_power_of_two.round_to_power_of_two(tensor, 3).tolist() == [[1.0, level, -level]]


def test_five_bits_give_eight_powers_and_two_bits_give_one() -> None:
    weights = torch.linspace(-1, 1, 100_001)[None]
    assert len(quantize_power_of_two.round_to_power_of_two(weights, 5).unique()) == 17
    assert quantize_power_of_two.round_to_power_of_two(weights, 2).unique().tolist() == [-1, 0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 1},
        {"bits": 7},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quantize_power_of_two.Options.model_validate(RECIPE | wrong)
