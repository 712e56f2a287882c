"""resnet8 against counts by hand."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.networks import resnet8
from tests.support.tiny_networks import count_resnet8_parameters
from tests.support.training_tasks import make_ports


@pytest.mark.parametrize("widths", [[16, 32, 64], [8, 16, 32], [3], [5, 5]])
def test_the_number_of_parameters_equals_the_count_by_hand(widths: list[int]) -> None:
    module = resnet8.build(*make_ports((1, 8, 8), 10), widths=widths, stem_stride=1)
    assert sum(p.numel() for p in module.parameters()) == count_resnet8_parameters(1, 10, widths)


def test_three_widths_give_eight_weighted_layers() -> None:
    module = resnet8.build(*make_ports((3, 32, 32), 10), widths=[16, 32, 64], stem_stride=1)
    main_path = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(main_path) == 8


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 33, 17)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_images_of_any_size_give_one_logit_per_class(shape: tuple[int, ...], stem_stride: int) -> None:
    module = resnet8.build(*make_ports(shape, 7), widths=[4, 6], stem_stride=stem_stride).eval()
    assert module(torch.rand(2, *shape)).shape == (2, 7)


def test_a_block_with_the_same_shape_adds_its_unchanged_input() -> None:
    block = resnet8.Block(4, 4, stride=1).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 4, 5, 5)  # not negative, so that the last ReLU does not change it
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
