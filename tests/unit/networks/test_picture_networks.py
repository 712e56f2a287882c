"""ResNet-18, the simple CNN and the detector against counts by hand and the shapes of their outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port
from edgeproof.networks import resnet18, simple_cnn, tiny_yolo
from tests.support.training_tasks import make_ports


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- ResNet-18 -----------------------------------------------------------------------------------------------------


def test_resnet18_has_the_parameters_of_the_paper_with_a_small_stem() -> None:
    module = resnet18.build(*make_ports((3, 32, 32), 10), widths=[64, 128, 256, 512], blocks=2)
    # 11,689,512 for ImageNet, with a 7×7 stem (9,408 weights) and 1,000 classes, as torchvision counts.
    assert count_parameters(module) == 11_689_512 - 9_408 + 3 * 9 * 64 - 513 * 1000 + 513 * 10
    main_path = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(main_path) == 18


def test_only_later_stages_of_resnet18_halve_the_resolution() -> None:
    module = resnet18.build(*make_ports((3, 32, 32), 10), widths=[4, 6, 8], blocks=2).eval()
    assert module.blocks(module.stem(torch.zeros(1, 3, 32, 32))).shape == (1, 8, 8, 8)


def test_a_block_with_the_same_shape_adds_its_unchanged_input() -> None:
    block = resnet18.Block(4, 4, stride=1).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(block(x), x)


# --- the simple CNN ------------------------------------------------------------------------------------------------


def test_parameters_of_the_simple_cnn_equal_the_count_by_hand() -> None:
    module = simple_cnn.build(*make_ports((3, 32, 32), 10), widths=[32, 64], hidden=128, dropout=0.0)
    expected = (9 * 3 * 32 + 32) + (9 * 32 * 64 + 64) + (64 * 8 * 8 * 128 + 128) + (128 * 10 + 10)
    assert count_parameters(module) == expected == 545_098


def test_the_simple_cnn_refuses_images_that_both_poolings_would_empty() -> None:
    assert simple_cnn.build(*make_ports((1, 4, 4), 3), widths=[2, 2], hidden=4, dropout=0.0)
    with pytest.raises(ConfigError, match="at least 4×4"):
        simple_cnn.build(*make_ports((1, 3, 8), 3), widths=[2, 2], hidden=4, dropout=0.0)


def test_dropout_is_active_only_in_training() -> None:
    module = simple_cnn.build(*make_ports((1, 8, 8), 3), widths=[2, 2], hidden=64, dropout=0.5)
    x = torch.rand(1, 1, 8, 8)
    assert not torch.equal(module.train()(x), module(x))
    assert torch.equal(module.eval()(x), module(x))


# --- the detector --------------------------------------------------------------------------------------------------


def make_scales(*sizes: tuple[int, int], classes: int = 3) -> tuple[Port, ...]:
    return tuple(
        port
        for number, size in enumerate(sizes)
        for port in (Port(f"scores_{number}", (classes, *size)), Port(f"distances_{number}", (4, *size)))
    )


IMAGE = (Port("image", (3, 48, 64)),)
OPTIONS: dict[str, Any] = {"widths": [4, 6, 8, 10], "blocks": 1, "neck": 8, "head": 1}


@pytest.mark.parametrize("sizes", [[(6, 8)], [(12, 16), (3, 4)], [(24, 32)], [(6, 8), (3, 4)]])
def test_the_detector_gives_scores_and_distances_of_each_scale(sizes: list[tuple[int, int]]) -> None:
    outputs = make_scales(*sizes)
    module = tiny_yolo.build(IMAGE, outputs, **OPTIONS).eval()
    answers = module(torch.rand(2, 3, 48, 64))
    assert [tuple(answer.shape) for answer in answers] == [(2, *port.shape) for port in outputs]


def test_parameters_of_the_detector_equal_the_count_by_hand() -> None:
    def count_block(channels_in: int, channels_out: int) -> int:
        convolutions = 9 * channels_in * channels_out + 9 * channels_out * channels_out + channels_in * channels_out
        return convolutions + 3 * 2 * channels_out

    module = tiny_yolo.build(IMAGE, make_scales((6, 8)), **OPTIONS)
    backbone = 9 * 3 * 4 + 8 + count_block(4, 6) + count_block(6, 8) + count_block(8, 10)
    laterals = (8 * 8 + 8) + (10 * 8 + 8)  # of the strides 8 and 16
    head = 2 * (9 * 8 * 8 + 16) + (8 * 3 + 3) + (8 * 4 + 4)
    assert count_parameters(module) == backbone + laterals + head


def test_coarse_features_reach_fine_positions() -> None:
    module = tiny_yolo.build(IMAGE, make_scales((6, 8)), **OPTIONS).eval()
    fine, coarse = torch.zeros(1, 8, 6, 8), torch.zeros(1, 10, 3, 4)
    coarse[0, :, 1, 2] = 1.0
    merged = module._merge([fine, coarse])[0] - module._merge([fine, torch.zeros_like(coarse)])[0]
    changed = merged.abs().sum((0, 1)) > 0
    assert changed.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_the_first_scores_of_the_detector_are_the_prior() -> None:
    module = tiny_yolo.build(IMAGE, make_scales((6, 8)), **OPTIONS).eval()
    nn.init.zeros_(module.heads[0].scores.weight)
    scores, _ = module(torch.rand(1, 3, 48, 64))
    assert torch.allclose(scores.sigmoid(), torch.tensor(0.01))


def test_the_layers_that_give_the_outputs_are_fixed() -> None:
    module = tiny_yolo.build(IMAGE, make_scales((6, 8), (3, 4)), **OPTIONS)
    assert [layer.out_channels for layer in module.fixed_layers()] == [3, 4, 3, 4]


@pytest.mark.parametrize(
    "outputs",
    [
        (),
        make_scales((6, 8))[:1],
        make_scales((5, 8)),
        make_scales((48, 64)),
        make_scales((3, 4), (6, 8)),
        make_scales((6, 8), (6, 8)),
        (Port("scores", (3, 6, 8)), Port("distances", (5, 6, 8))),
        make_scales((2, 2)),
    ],
    ids=["none", "half a scale", "no halving", "no stride", "coarse first", "twice", "five sides", "too coarse"],
)
def test_outputs_that_the_detector_cannot_give_are_refused(outputs: tuple[Port, ...]) -> None:
    with pytest.raises(ConfigError, match="tiny_yolo"):
        tiny_yolo.build(IMAGE, outputs, **OPTIONS)


# --- options -------------------------------------------------------------------------------------------------------

GOOD: dict[Any, dict[str, object]] = {
    resnet18: {"widths": [4], "blocks": 1},
    simple_cnn: {"widths": [4, 4], "hidden": 4, "dropout": 0.0},
    tiny_yolo: {"widths": [4], "blocks": 1, "neck": 4, "head": 1},
}


@pytest.mark.parametrize("network", GOOD, ids=lambda network: network.__name__)
@pytest.mark.parametrize("changed", [{"widths": []}, {"widths": [0]}, {"depth": 1}])
def test_options_that_build_no_network_are_refused(network: Any, changed: dict[str, object]) -> None:
    network.Options.model_validate(GOOD[network])
    with pytest.raises(ValidationError):
        network.Options.model_validate(GOOD[network] | changed)
