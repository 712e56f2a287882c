"""MobileNet and ShuffleNet against counts worked out by hand and torch's own shuffle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.models import frameworks
from edgeproof.networks import mobilenet_v1, mobilenet_v2, shufflenet_v2

WIDTHS = [[16, 32, 64], [8, 12], [4]]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def normalized(weights: int, channels: int) -> int:
    """A convolution without bias, and batch normalization of its outputs."""
    return weights + 2 * channels


def strides(module: nn.Module) -> list[int]:
    return [layer.stride[0] for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1]


# --- MobileNetV1 ---------------------------------------------------------------------------------------------------


def v1_by_hand(widths: list[int], blocks: int) -> int:
    total = normalized(9 * widths[0], widths[0])
    before = widths[0]
    for width in widths:
        for _ in range(blocks):
            total += normalized(9 * before, before) + normalized(before * width, width)
            before = width
    return total + before * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_mobilenet_v1_has_as_many_parameters_as_its_layers_add_up_to(widths: list[int], blocks: int) -> None:
    module = mobilenet_v1.build((1, 8, 8), 10, widths=widths, blocks=blocks, stem_stride=1)
    assert parameters(module) == v1_by_hand(widths, blocks)
    assert strides(module) == [2] * (len(widths) - 1)


def test_a_separable_block_multiplies_as_equation_5_of_the_paper_says() -> None:
    block = next(iter(mobilenet_v1.build_blocks([32], 1)))
    # D_K·D_K·M·D_F·D_F + M·N·D_F·D_F, here 3·3·32·49 + 32·32·49: an eighth of 3·3·32·32·49 and a ninth more.
    assert frameworks.compute_facts(block, (32, 7, 7)).macs == 3 * 3 * 32 * 49 + 32 * 32 * 49


# --- MobileNetV2 ---------------------------------------------------------------------------------------------------


def v2_by_hand(widths: list[int], blocks: int, expansion: int, head: int) -> int:
    total = normalized(9 * widths[0], widths[0])
    before = widths[0]
    for width in widths:
        for _ in range(blocks):
            inside = before * expansion
            total += normalized(before * inside, inside) if expansion > 1 else 0
            total += normalized(9 * inside, inside) + normalized(inside * width, width)
            before = width
    return total + normalized(before * head, head) + head * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize(("blocks", "expansion"), [(1, 1), (2, 6)])
def test_mobilenet_v2_has_as_many_parameters_as_its_layers_add_up_to(
    widths: list[int], blocks: int, expansion: int
) -> None:
    module = mobilenet_v2.build(
        (1, 8, 8), 10, widths=widths, blocks=blocks, expansion=expansion, head=24, stem_stride=1
    )
    assert parameters(module) == v2_by_hand(widths, blocks, expansion, 24)
    assert strides(module) == [2] * (len(widths) - 1)


def test_a_bottleneck_adds_its_input_only_where_the_shape_stays_and_ends_without_an_activation() -> None:
    x = torch.randn(1, 4, 6, 6)
    same, wider, strided = (
        mobilenet_v2.InvertedResidual(4, c, 2, stride=s).eval() for c, s in ((4, 1), (6, 1), (4, 2))
    )
    for block in (same, wider, strided):
        nn.init.zeros_(block.layers[-1].weight)  # type: ignore[arg-type]
    assert torch.equal(same(x), x)  # negative values included
    assert not wider(x).any()
    assert not strided(x).any()
    nn.init.constant_(wider.layers[-1].bias, -1.0)  # type: ignore[arg-type]
    assert torch.equal(wider(x), torch.full((1, 6, 6, 6), -1.0))


# --- ShuffleNetV2 --------------------------------------------------------------------------------------------------


def shufflenet_by_hand(widths: list[int], blocks: int, head: int) -> int:
    def branch(before: int, half: int) -> int:
        return normalized(before * half, half) + normalized(9 * half, half) + normalized(half * half, half)

    total = normalized(9 * widths[0], widths[0])
    for stage, width in enumerate(widths):
        half, units = width // 2, blocks
        if stage > 0:
            before = widths[stage - 1]
            total += normalized(9 * before, before) + normalized(before * half, half) + branch(before, half)
            units -= 1
        total += units * branch(half, half)
    return total + normalized(widths[-1] * head, head) + head * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_shufflenet_has_as_many_parameters_as_its_layers_add_up_to(widths: list[int], blocks: int) -> None:
    module = shufflenet_v2.build((1, 8, 8), 10, widths=widths, blocks=blocks, head=24, stem_stride=1)
    assert parameters(module) == shufflenet_by_hand(widths, blocks, 24)
    assert len(strides(module)) == 2 * (len(widths) - 1)  # both branches of a reduction


@given(st.integers(1, 8), st.integers(1, 3))
def test_the_shuffle_is_torchs_own_and_moves_every_channel_to_a_place_of_its_own(half: int, count: int) -> None:
    x = torch.arange(count * 2 * half * 6.0).reshape(count, 2 * half, 2, 3)
    shuffled = shufflenet_v2.Shuffle()(x)
    assert torch.equal(shuffled, nn.functional.channel_shuffle(x, 2))
    order = shuffled[0, :, 0, 0] / 6
    assert sorted(order.tolist()) == list(range(2 * half))
    strided = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(shufflenet_v2.Shuffle()(strided), shuffled)


def test_a_unit_passes_its_first_half_on_unchanged_to_every_second_place() -> None:
    unit = shufflenet_v2.ShuffleUnit(6).eval()
    x = torch.randn(2, 6, 4, 4)
    out = unit(x)
    assert torch.equal(out[:, 0::2], x[:, :3])
    assert torch.equal(out[:, 1::2], unit.work(x[:, 3:]))


# --- options -------------------------------------------------------------------------------------------------------

GOOD: dict[Any, dict[str, object]] = {
    mobilenet_v1: {"widths": [4], "blocks": 1, "stem_stride": 1},
    mobilenet_v2: {"widths": [4], "blocks": 1, "expansion": 1, "head": 4, "stem_stride": 1},
    shufflenet_v2: {"widths": [4], "blocks": 1, "head": 4, "stem_stride": 1},
}


@pytest.mark.parametrize("network", GOOD, ids=lambda network: network.__name__)
@pytest.mark.parametrize(
    "changed", [{"widths": []}, {"widths": [0]}, {"blocks": 0}, {"stem_stride": 5}, {"width_multiplier": 0.5}]
)
def test_options_that_build_no_network_are_refused(network: Any, changed: dict[str, object]) -> None:
    network.Options.model_validate(GOOD[network])
    with pytest.raises(ValidationError):
        network.Options.model_validate(GOOD[network] | changed)


def test_widths_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 2"):
        shufflenet_v2.Options.model_validate(GOOD[shufflenet_v2] | {"widths": [4, 7]})
