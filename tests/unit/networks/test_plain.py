"""mlp and cnn2 against published counts and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.networks import cnn2, mlp
from tests.support.training_tasks import make_ports


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- perceptron ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "published"), [((128,), 101_770), ((300, 100), 266_610), ((), 7_850)])
def test_a_perceptron_has_the_published_number_of_parameters(hidden: tuple[int, ...], published: int) -> None:
    assert count_parameters(mlp.build(*make_ports((1, 28, 28), 10), hidden=hidden)) == published


@given(st.lists(st.integers(1, 9), max_size=3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_a_perceptron_equals_its_formula_in_numpy(hidden: list[int], channels: int, height: int, width: int) -> None:
    module = mlp.build(*make_ports((channels, height, width), 4), hidden=hidden)
    images = np.random.default_rng(0).standard_normal((2, channels, height, width)).astype(np.float32)
    values = images.reshape(2, -1)
    layers = [layer for layer in module if isinstance(layer, nn.Linear)]  # type: ignore[attr-defined]
    for number, layer in enumerate(layers):
        values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        values = values if number == len(layers) - 1 else np.maximum(values, 0)
    np.testing.assert_allclose(module(torch.from_numpy(images)).detach().numpy(), values, atol=1e-5)


@pytest.mark.parametrize("options", [{"hidden": [0]}, {"hidden": "128"}, {}, {"hidden": [4], "depth": 1}])
def test_options_that_build_no_perceptron_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        mlp.Options.model_validate(options)


# --- two convolutions ----------------------------------------------------------------------------------------------


def count_lenet_by_hand(positions: int, first: int = 20, second: int = 50, hidden: int = 500) -> int:
    """Count the parameters of two 5×5 convolutions and two linear layers; `positions` remain after pooling."""
    convolutions = 25 * first + first + 25 * first * second + second
    return convolutions + positions * second * hidden + hidden + hidden * 10 + 10


def test_cnn2_without_padding_equals_lenet_5_of_deep_compression() -> None:
    module = cnn2.build(*make_ports((1, 28, 28), 10), widths=(20, 50), hidden=500, padding=0)
    assert count_parameters(module) == count_lenet_by_hand(positions=4 * 4) == 431_080


@pytest.mark.parametrize(("side", "padding", "positions"), [(28, 2, 7 * 7), (28, 1, 5 * 5), (8, 2, 2 * 2), (16, 0, 1)])
def test_padding_and_image_size_change_only_the_first_linear_layer(side: int, padding: int, positions: int) -> None:
    module = cnn2.build(*make_ports((1, side, side), 10), widths=(6, 4), hidden=9, padding=padding)
    assert count_parameters(module) == count_lenet_by_hand(positions, 6, 4, 9)
    assert module(torch.rand(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize(("padding", "smallest"), [(0, 16), (1, 10), (2, 4)])
def test_a_too_small_image_is_refused_with_the_smallest_size(padding: int, smallest: int) -> None:
    options = {"widths": (2, 2), "hidden": 2, "padding": padding}
    assert cnn2.build(*make_ports((1, smallest, 40), 3), **options)(torch.rand(1, 1, smallest, 40)).shape == (1, 3)
    for shape in ((1, smallest - 1, 40), (1, 40, smallest - 1), (1, 1, 1)):
        with pytest.raises(ConfigError, match=f"at least {smallest}×{smallest}"):
            cnn2.build(*make_ports(shape, 3), **options)


@pytest.mark.parametrize(
    "changed", [{"widths": [20]}, {"widths": [20, 50, 80]}, {"hidden": 0}, {"padding": 3}, {"kernel": 3}]
)
def test_options_that_build_no_lenet_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        cnn2.Options.model_validate({"widths": [20, 50], "hidden": 500, "padding": 2} | changed)
