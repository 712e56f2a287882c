"""The residual network against counts worked out by hand."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.networks import resnet8


def parameters_by_hand(channels: int, classes: int, widths: list[int]) -> int:
    """3×3 convolutions without bias, two numbers a batch-normalized channel, 1×1 shortcuts, one linear layer."""
    total = 9 * channels * widths[0] + 2 * widths[0]
    before = widths[0]
    for number, width in enumerate(widths):
        total += 9 * before * width + 2 * width + 9 * width * width + 2 * width
        if number > 0 or before != width:
            total += before * width + 2 * width
        before = width
    return total + widths[-1] * classes + classes


@pytest.mark.parametrize("widths", [[16, 32, 64], [8, 16, 32], [3], [5, 5]])
def test_the_network_has_as_many_parameters_as_its_layers_add_up_to(widths: list[int]) -> None:
    module = resnet8.build((1, 8, 8), 10, widths=widths, stem_stride=1)
    assert sum(p.numel() for p in module.parameters()) == parameters_by_hand(1, 10, widths)


def test_three_widths_make_the_eight_weighted_layers_of_its_name() -> None:
    module = resnet8.build((3, 32, 32), 10, widths=[16, 32, 64], stem_stride=1)
    on_the_way = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(on_the_way) == 8


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 33, 17)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_images_of_any_size_become_one_logit_a_class(shape: tuple[int, ...], stem_stride: int) -> None:
    module = resnet8.build(shape, 7, widths=[4, 6], stem_stride=stem_stride).eval()
    assert module(torch.rand(2, *shape)).shape == (2, 7)


def test_a_block_without_a_change_of_shape_adds_its_input_as_it_is() -> None:
    block = resnet8.BasicBlock(4, 4, stride=1).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 4, 5, 5)  # not negative, so that the last activation keeps it
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    "options",
    [
        {"widths": [], "stem_stride": 1},
        {"widths": [0], "stem_stride": 1},
        {"widths": [4], "stem_stride": 0},
        {"widths": [4], "stem_stride": 5},
        {"widths": [4]},
        {"widths": [4], "stem_stride": 1, "depth": 8},
    ],
)
def test_options_that_build_no_network_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        resnet8.Options.model_validate(options)
