"""The method share_weights: codebooks against scikit-learn's k-means, and their gradients."""

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
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.methods import share_weights
from tests.support.method_inputs import RECIPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@pytest.mark.parametrize("count", [4, 8, 16])
def test_codebook_equals_k_means_of_scikit_learn(count: int) -> None:
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
def test_a_codebook_is_ascending_and_within_size_and_range(weights: np.ndarray, size: int) -> None:
    codebook = share_weights.build_codebook(torch.from_numpy(weights), size).numpy()
    slack = 1e-5 * float(np.ptp(weights))
    assert 1 <= len(codebook) <= size
    assert (np.diff(codebook) >= 0).all()
    assert codebook.min() >= weights.min() - slack
    assert codebook.max() <= weights.max() + slack


def test_gradient_of_a_centroid_is_the_sum_of_the_gradients_of_its_weights() -> None:
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


def test_fine_tuning_moves_shared_values_and_keeps_clusters(module: nn.Module) -> None:
    still = copy.deepcopy(module)
    share_weights.apply(still, make_task(), **RECIPE | {"epochs": 0}, bits=3)
    share_weights.apply(module, make_task(), **RECIPE | {"epochs": 3, "learning_rate": 1e-3}, bits=3)
    for before, after in zip(list_weights(still), list_weights(module), strict=True):
        assert not torch.equal(before, after)
        for value in before.unique():
            assert len(after[before == value].unique()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 1},
        {"bits": 9},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        share_weights.Options.model_validate(RECIPE | wrong)
