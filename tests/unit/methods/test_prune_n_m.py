"""The method prune_n_m, group by group in plain numpy."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.methods import prune_n_m, prune_weights
from tests.support.method_inputs import RECIPE, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def flatten_weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([w.flatten() for w in list_weights(module)])


tensors = st.builds(
    lambda seed, out, width, kernel, distinct: (
        np.random.default_rng(seed).integers(-distinct, distinct + 1, (out, width, *kernel)).astype(np.float32)
    ),
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 11),
    st.sampled_from([(), (1, 1), (2, 3)]),
    st.sampled_from([1, 5, 10**6]),  # few values make many ties
)


@given(tensors, st.integers(1, 4), st.integers(1, 4))
def test_the_n_largest_weights_of_every_group_are_kept(weight: np.ndarray, n: int, more: int) -> None:
    m = n + more
    mask = prune_n_m.build_n_m_mask(torch.from_numpy(weight), n, m).numpy()
    assert mask.shape == weight.shape
    rows = np.moveaxis(weight, 1, -1).reshape(-1, weight.shape[1])
    kept = np.moveaxis(mask, 1, -1).reshape(-1, weight.shape[1])
    for row, keep in zip(rows, kept, strict=True):
        for start in range(0, len(row), m):
            group, chosen = np.abs(row[start : start + m]), keep[start : start + m]
            largest = np.argsort(-group, kind="stable")[:n]
            assert sorted(largest) == np.flatnonzero(chosen).tolist()


def test_two_of_four_halves_every_layer_with_groups(module: nn.Module) -> None:
    first, *others = list_weights(module)
    before = first.clone()
    prune_n_m.apply(module, make_task(), **RECIPE | {"epochs": 0}, n=2, m=4)
    assert torch.equal(first, before)  # one input channel: nothing to choose from
    for weight in others:
        assert weight.shape[1] % 4 == 0
        assert int((weight != 0).sum()) * 2 == weight.numel()


def test_zeros_are_held_while_other_weights_are_fine_tuned(module: nn.Module) -> None:
    pruned = copy.deepcopy(module)
    prune_n_m.apply(pruned, make_task(), **RECIPE | {"epochs": 0}, n=1, m=4)
    prune_n_m.apply(module, make_task(), **RECIPE | {"epochs": 3}, n=1, m=4)
    assert torch.equal(flatten_weights(module) == 0, flatten_weights(pruned) == 0)
    kept = flatten_weights(pruned) != 0
    assert (flatten_weights(module) != flatten_weights(pruned))[kept].double().mean() > 0.9


def test_n_m_pruning_of_a_sparser_model_keeps_its_zeros(module: nn.Module) -> None:
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.9, scope="layer")
    zeros = flatten_weights(module) == 0
    prune_n_m.apply(module, make_task(), **RECIPE, n=2, m=4)
    assert bool((flatten_weights(module) == 0)[zeros].all())


def test_zeros_have_no_sign(module: nn.Module) -> None:
    prune_n_m.apply(module, make_task(), **RECIPE | {"n": 2, "m": 4})
    weights = flatten_weights(module)
    assert not math.isclose(float((weights == 0).double().mean()), 0)
    assert not weights[weights == 0].signbit().any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0, "m": 4},
        {"n": 4, "m": 4},
        {"n": 1, "m": 1},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_n_m.Options.model_validate(RECIPE | wrong)
