"""The method prune_weights: exact sparsity, ties, scopes, and dead networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import prune_weights
from edgeproof.models import layers
from tests.support.method_inputs import RECIPE, build_chain, list_weights, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


class Tensors(nn.Module):
    """A module that holds only parameters."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(tensor) for tensor in tensors])


shapes = st.lists(hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), min_size=1, max_size=4)


@given(shapes, st.floats(0.001, 0.999), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_exactly_the_requested_share_of_the_smallest_weights_is_zeroed(
    sizes: list[tuple[int, ...]], sparsity: float, values: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:  # few values make many ties
        return rng.integers(-values, values + 1, shape) if values else rng.standard_normal(shape)

    module = Tensors([torch.from_numpy(draw(shape).astype(np.float32)) for shape in sizes])
    before = [w.detach().abs().numpy() for w in module.weights]
    layers.zero_smallest(list(module.weights), sparsity)
    masks = [w.detach().numpy() == 0 for w in module.weights]
    flat, zeros = np.concatenate([w.ravel() for w in before]), np.concatenate([m.ravel() for m in masks])
    assert zeros.sum() == max(round(sparsity * len(flat)), (flat == 0).sum())
    if 0 < zeros.sum() < len(flat):
        assert flat[zeros].max() <= flat[~zeros].min()
    for weight, original, mask in zip(module.weights, before, masks, strict=True):
        np.testing.assert_array_equal(weight.detach().abs().numpy()[~mask], original[~mask])


def test_biases_and_normalizations_are_never_pruned(module: nn.Module) -> None:
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() == 1:
                p.fill_(1e-9)
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    assert all(bool((p == 1e-9).all()) for p in module.parameters() if p.dim() == 1)


def test_global_scope_prunes_layers_with_small_weights_most(module: nn.Module) -> None:
    with torch.no_grad():
        module.stem[0].weight *= 100
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.5, scope="global")
    assert bool(module.stem[0].weight.all())
    flat = torch.cat([w.flatten() for w in list_weights(module)])
    assert int((flat == 0).sum()) == round(0.5 * len(flat))


@pytest.mark.parametrize("epochs", [0, 2])
def test_layer_scope_prunes_the_requested_share_of_every_layer(epochs: int, module: nn.Module) -> None:
    before = [w.clone() for w in list_weights(module)]
    with torch.no_grad():
        module.stem[0].weight *= 100
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": epochs}, sparsity=0.7, scope="layer")
    for weight, original in zip(list_weights(module), before, strict=True):
        count = round(0.7 * weight.numel())
        smallest = np.argsort(original.abs().flatten().numpy(), kind="stable")[:count]
        assert np.flatnonzero(weight.flatten().numpy() == 0).tolist() == sorted(smallest)


def test_pruning_a_sparser_model_changes_no_zeros(module: nn.Module) -> None:
    prune_weights.apply(module, make_task(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    zeros = [w == 0 for w in list_weights(module)]
    prune_weights.apply(module, make_task(), **RECIPE, sparsity=0.5, scope="global")
    assert all(torch.equal(w == 0, zero) for w, zero in zip(list_weights(module), zeros, strict=True))


def test_pruning_a_network_dead_names_the_empty_layer() -> None:
    with pytest.raises(ConfigError, match=r"no longer depends on its input.*no weight is left in 3\. Remove less"):
        prune_weights.apply(build_chain(), make_task(), **RECIPE, sparsity=0.6, scope="global")
    prune_weights.apply(build_chain(), make_task(), **RECIPE, sparsity=0.6, scope="layer")


def test_an_empty_layer_beside_a_shortcut_is_accepted(module: nn.Module) -> None:
    with torch.no_grad():
        module.blocks[1].conv1.weight *= 1e-6
    prune_weights.apply(module, make_task(), **RECIPE, sparsity=0.8, scope="global")
    assert not module.blocks[1].conv1.weight.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sparsity": 1, "scope": "global"},
        {"sparsity": 0, "scope": "global"},
        {"sparsity": 0.5, "scope": "channel"},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_weights.Options.model_validate(RECIPE | wrong)
