"""Quantization of weights to lines, powers of two and codebooks, against the formulas in plain numpy."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.methods import prune_weights, quantize_linear, quantize_power_of_two, share_weights
from edgeproof.models import training
from edgeproof.networks import resnet8
from tests.unit.methods.test_methods import RECIPE, SHAPE, task_of, weights_of

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

LINEAR = {"bits": 3, "symmetric": False, "per": "channel", "clipping": "minmax"}

rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.floats(-1000, 1000, width=32).map(lambda v: v if abs(v) > 1e-10 else 0.0),
)
bits = st.integers(2, 8)
METHODS: list[tuple[ModuleType, dict[str, Any], int]] = [  # and the most values of a tensor without zeros
    (quantize_linear, LINEAR | {"per": "tensor"}, 8),
    (quantize_linear, LINEAR | {"per": "tensor", "symmetric": True, "clipping": "mse"}, 8),
    (quantize_linear, LINEAR | {"per": "tensor", "clipping": 99.0}, 8),
    (quantize_power_of_two, {"bits": 4}, 9),
    (share_weights, {"bits": 3, "learning_rate": 1e-3}, 8),
]


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    return resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)


# --- lines ---------------------------------------------------------------------------------------------------------


def linear(weights: np.ndarray, count: int, symmetric: bool, clipping: Any = "minmax") -> np.ndarray:
    tensor = torch.from_numpy(weights)
    ends = quantize_linear.find_range(tensor, count, symmetric=symmetric, clipping=clipping)
    return quantize_linear.quantize(tensor, *ends, count).numpy()


def by_hand(row: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    x, top = np.clip(row.astype(float), low, high), 2**count - 1
    if low == high:
        return x
    return low + np.round((x - low) / (high - low) * top) * (high - low) / top


def ends_by_hand(row: np.ndarray, symmetric: bool) -> tuple[float, float]:
    low, high = (-np.abs(row).max(), np.abs(row).max()) if symmetric else (row.min(), row.max())
    return float(low), float(high)


@given(rows, bits, st.booleans())
def test_no_weight_moves_by_more_than_half_a_step_and_the_levels_are_evenly_spaced(
    weights: np.ndarray, count: int, symmetric: bool
) -> None:
    for row, quantized in zip(weights, linear(weights, count, symmetric), strict=True):
        low, high = ends_by_hand(row, symmetric)
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
def test_the_levels_are_those_of_the_formula(seed: int, count: int, symmetric: bool) -> None:
    weights = np.random.default_rng(seed).standard_normal((3, 50)).astype(np.float32)
    for row, quantized in zip(weights, linear(weights, count, symmetric), strict=True):
        np.testing.assert_allclose(quantized, by_hand(row, *ends_by_hand(row, symmetric), count), atol=1e-5)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", range(2, 9))
def test_enough_weights_fill_exactly_two_to_the_bits_levels(count: int, symmetric: bool) -> None:
    weights = np.linspace(-0.3 if not symmetric else -1, 1, 5000, dtype=np.float32)[None]
    assert len(np.unique(linear(weights, count, symmetric))) == 2**count


@given(rows, bits, st.booleans())
def test_quantizing_twice_is_quantizing_once(weights: np.ndarray, count: int, symmetric: bool) -> None:
    once = linear(weights, count, symmetric)
    if not symmetric or (np.abs(once).max(1) == np.abs(weights).max(1)).all():
        scale = np.abs(weights).max() + 1e-30
        np.testing.assert_allclose(linear(once, count, symmetric) / scale, once / scale, atol=1e-5)


@given(rows, st.floats(51, 99.9))
def test_a_percentile_range_is_numpys(weights: np.ndarray, percentile: float) -> None:
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
def test_the_mse_range_is_the_best_of_twenty_shrunk_ones_for_each_row(count: int, symmetric: bool) -> None:
    weights = np.random.default_rng(1).standard_t(3, (4, 200)).astype(np.float32)
    chosen = linear(weights, count, symmetric, "mse")
    for row, quantized in zip(weights, chosen, strict=True):
        low, high = ends_by_hand(row, symmetric)
        errors = [((by_hand(row, low * k / 20, high * k / 20, count) - row) ** 2).mean() for k in range(1, 21)]
        assert ((quantized - row) ** 2).mean() == pytest.approx(min(errors), rel=1e-3)
        assert count > 2 or min(errors) < errors[-1] / 1.2  # heavy tails at few bits: clipping pays


@pytest.mark.parametrize("clipping", ["minmax", "mse", 99.0])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_weights_that_are_all_alike_stay_as_they_are(clipping: Any, symmetric: bool, value: float) -> None:
    weights = np.full((2, 3), value, np.float32)
    np.testing.assert_allclose(linear(weights, 4, symmetric, clipping), weights, rtol=1e-6)


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_a_range_belongs_to_a_tensor_or_to_each_of_its_channels(module: nn.Module, per: str) -> None:
    plain = copy.deepcopy(module)
    quantize_linear.apply(module, task_of(), **RECIPE | LINEAR | {"epochs": 0, "per": per})
    for weight, original in zip(weights_of(module), weights_of(plain), strict=True):
        shape = (1, -1) if per == "tensor" else (len(original), -1)
        for quantized, row in zip(weight.reshape(shape).numpy(), original.reshape(shape).numpy(), strict=True):
            np.testing.assert_allclose(quantized, by_hand(row, row.min(), row.max(), 3), atol=1e-6)
            assert len(np.unique(quantized)) <= 8


# --- powers of two -------------------------------------------------------------------------------------------------


def levels_by_hand(peak: float, count: int) -> np.ndarray:
    n1 = int(np.floor(np.log2(4 * peak / 3)))
    n2 = n1 + 1 - 2 ** (count - 1) // 2
    powers = 2.0 ** np.arange(n2, n1 + 1)
    return np.concatenate([-powers, [0.0], powers])


@given(rows, st.integers(2, 6))
def test_every_weight_goes_to_the_nearest_of_the_papers_levels(weights: np.ndarray, count: int) -> None:
    rounded = quantize_power_of_two.round_to_power_of_two(torch.from_numpy(weights), count).numpy().astype(float)
    peak = float(np.abs(weights).max())
    if peak == 0:
        assert not rounded.any()
        return
    levels = levels_by_hand(peak, count)
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
def test_midpoints_go_up_and_below_half_the_smallest_power_is_zero(weight: float, level: float) -> None:
    tensor = torch.tensor([[1.2, weight, -weight]])  # 3 bits: 1 and 1/2
    assert quantize_power_of_two.round_to_power_of_two(tensor, 3).tolist() == [[1.0, level, -level]]


def test_five_bits_hold_eight_powers_and_two_bits_one() -> None:
    weights = torch.linspace(-1, 1, 100_001)[None]
    assert len(quantize_power_of_two.round_to_power_of_two(weights, 5).unique()) == 17
    assert quantize_power_of_two.round_to_power_of_two(weights, 2).unique().tolist() == [-1, 0, 1]


# --- codebooks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 8, 16])
def test_the_codebook_is_that_of_scikit_learns_k_means_from_the_same_first_centroids(count: int) -> None:
    weights = np.random.default_rng(2).standard_normal(3000).astype(np.float32)
    ours = share_weights.build_codebook(torch.from_numpy(weights), count).numpy()
    first = np.linspace(weights.min(), weights.max(), count)[:, None]
    theirs = KMeans(count, init=first, n_init=1, tol=0, max_iter=10_000).fit(weights[:, None].astype(float))
    np.testing.assert_allclose(ours, np.sort(theirs.cluster_centers_[:, 0]), atol=0.02)
    nearest = np.abs(weights[:, None] - ours).min(1)
    assert (nearest**2).sum() == pytest.approx(theirs.inertia_, rel=1e-3)


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-10, 10, width=32)),
    st.integers(3, 16),
)
def test_a_codebook_has_at_most_its_size_within_the_weights_range_and_keeps_few_values(
    weights: np.ndarray, size: int
) -> None:
    codebook = share_weights.build_codebook(torch.from_numpy(weights), size).numpy()
    slack = 1e-5 * float(np.ptp(weights))
    assert 1 <= len(codebook) <= size
    assert (np.diff(codebook) >= 0).all()
    assert codebook.min() >= weights.min() - slack
    assert codebook.max() <= weights.max() + slack


def test_a_centroids_gradient_is_the_sum_of_its_weights_gradients() -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    weight[0] = 0
    layer, upstream = nn.Linear(5, 6), torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    layer.weight.data = weight.clone()
    shared = share_weights._SharedWeight(weight, 2)
    parametrize.register_parametrization(layer, "weight", shared)
    (layer.weight * upstream).sum().backward()
    codebook = shared.codebook.numpy()
    assert len(codebook) <= 3
    expected = np.zeros(len(codebook))
    for value, slope in zip(weight.flatten().numpy(), upstream.flatten().numpy(), strict=True):
        if value:
            expected[np.abs(codebook - value).argmin()] += slope
    np.testing.assert_allclose(layer.parametrizations.weight.original.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_fine_tuning_moves_the_shared_values_and_no_weight_changes_its_cluster(module: nn.Module) -> None:
    still = copy.deepcopy(module)
    share_weights.apply(still, task_of(), **RECIPE | {"epochs": 0}, bits=3)
    share_weights.apply(module, task_of(), **RECIPE | {"epochs": 3, "learning_rate": 1e-3}, bits=3)
    for before, after in zip(weights_of(still), weights_of(module), strict=True):
        assert not torch.equal(before, after)
        for value in before.unique():
            assert len(after[before == value].unique()) == 1


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "options", "most"), METHODS)
@pytest.mark.parametrize("epochs", [0, 3])
def test_a_quantized_model_keeps_ordinary_tensors_of_few_values(
    method: ModuleType, options: dict[str, Any], most: int, epochs: int, module: nn.Module
) -> None:
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    method.apply(module, task_of(), **RECIPE | options | {"epochs": epochs})
    assert {name: tensor.shape for name, tensor in module.state_dict().items()} == shapes
    assert not any(parametrize.is_parametrized(layer) for layer in module.modules())
    assert all(len(weight.unique()) <= most for weight in weights_of(module))
    training.fit(module, task_of(), training.Recipe(**RECIPE))  # and it can be trained again


@pytest.mark.parametrize(("method", "options", "most"), METHODS)
def test_what_was_pruned_stays_pruned_and_its_zeros_have_no_sign(
    method: ModuleType, options: dict[str, Any], most: int, module: nn.Module
) -> None:
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.6, scope="global")
    zeros = [weight == 0 for weight in weights_of(module)]
    method.apply(module, task_of(), **RECIPE | options | {"epochs": 2})
    most_with_zero = most if method is share_weights else most + 1
    for weight, zero in zip(weights_of(module), zeros, strict=True):
        assert not weight[zero].any()
        assert not weight[weight == 0].signbit().any()
        assert len(weight.unique()) <= most_with_zero


@pytest.mark.parametrize(("method", "options", "most"), METHODS[:-1])
def test_the_gradient_passes_the_rounding_so_that_weights_change_their_level(
    method: ModuleType, options: dict[str, Any], most: int, module: nn.Module
) -> None:
    still = copy.deepcopy(module)
    method.apply(still, task_of(), **RECIPE | options | {"epochs": 0})
    method.apply(module, task_of(), **RECIPE | options | {"epochs": 6, "learning_rate": 0.3, "weight_decay": 0})
    crossed = sum(int((a * b < 0).sum()) for a, b in zip(weights_of(still), weights_of(module), strict=True))
    assert crossed > 0


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (quantize_linear, LINEAR | {"bits": 1}),
        (quantize_linear, LINEAR | {"bits": 9}),
        (quantize_linear, LINEAR | {"per": "layer"}),
        (quantize_linear, LINEAR | {"clipping": "max"}),
        (quantize_linear, LINEAR | {"clipping": 50}),
        (quantize_linear, LINEAR | {"clipping": 100}),
        (quantize_power_of_two, {"bits": 1}),
        (quantize_power_of_two, {"bits": 7}),
        (share_weights, {"bits": 1}),
        (share_weights, {"bits": 9}),
    ],
)
def test_an_option_out_of_range_is_refused(method: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)
