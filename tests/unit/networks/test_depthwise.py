"""MobileNet and ShuffleNet against counts by hand and the shuffle of torch."""

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
from tests.support.training_tasks import make_inputs, make_ports

WIDTHS = [[16, 32, 64], [8, 12], [4]]


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count_normalized(weights: int, channels: int) -> int:
    """Count the parameters of a convolution without bias and the batch normalization of its outputs."""
    return weights + 2 * channels


def list_strides(module: nn.Module) -> list[int]:
    return [layer.stride[0] for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1]


# --- MobileNetV1 ---------------------------------------------------------------------------------------------------


def count_v1_by_hand(widths: list[int], blocks: int) -> int:
    total = count_normalized(9 * widths[0], widths[0])
    channels_in = widths[0]
    for width in widths:
        for _ in range(blocks):
            total += count_normalized(9 * channels_in, channels_in) + count_normalized(channels_in * width, width)
            channels_in = width
    return total + channels_in * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_parameters_of_mobilenet_v1_equal_the_count_by_hand(widths: list[int], blocks: int) -> None:
    module = mobilenet_v1.build(*make_ports((1, 8, 8), 10), widths=widths, blocks=blocks, stem_stride=1)
    assert count_parameters(module) == count_v1_by_hand(widths, blocks)
    assert list_strides(module) == [2] * (len(widths) - 1)


def test_macs_of_a_separable_block_equal_equation_5_of_the_paper() -> None:
    block = next(iter(mobilenet_v1.build_blocks([32], 1)))
    # D_K·D_K·M·D_F·D_F + M·N·D_F·D_F, here 3·3·32·49 + 32·32·49: about an eighth of 3·3·32·32·49.
    assert frameworks.compute_facts(block, make_inputs((32, 7, 7))).macs == 3 * 3 * 32 * 49 + 32 * 32 * 49


# --- MobileNetV2 ---------------------------------------------------------------------------------------------------


def count_v2_by_hand(widths: list[int], blocks: int, expansion: int, head: int) -> int:
    total = count_normalized(9 * widths[0], widths[0])
    channels_in = widths[0]
    for width in widths:
        for _ in range(blocks):
            inside = channels_in * expansion
            total += count_normalized(channels_in * inside, inside) if expansion > 1 else 0
            total += count_normalized(9 * inside, inside) + count_normalized(inside * width, width)
            channels_in = width
    return total + count_normalized(channels_in * head, head) + head * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize(("blocks", "expansion"), [(1, 1), (2, 6)])
def test_parameters_of_mobilenet_v2_equal_the_count_by_hand(widths: list[int], blocks: int, expansion: int) -> None:
    module = mobilenet_v2.build(
        *make_ports((1, 8, 8), 10), widths=widths, blocks=blocks, expansion=expansion, head=24, stem_stride=1
    )
    assert count_parameters(module) == count_v2_by_hand(widths, blocks, expansion, 24)
    assert list_strides(module) == [2] * (len(widths) - 1)


def test_a_bottleneck_adds_its_input_only_for_the_same_shape() -> None:
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


def count_shufflenet_by_hand(widths: list[int], blocks: int, head: int) -> int:
    def count_branch(channels_in: int, half: int) -> int:
        return (
            count_normalized(channels_in * half, half)
            + count_normalized(9 * half, half)
            + count_normalized(half * half, half)
        )

    total = count_normalized(9 * widths[0], widths[0])
    for stage, width in enumerate(widths):
        half, units = width // 2, blocks
        if stage > 0:
            channels_in = widths[stage - 1]
            total += (
                count_normalized(9 * channels_in, channels_in)
                + count_normalized(channels_in * half, half)
                + count_branch(channels_in, half)
            )
            units -= 1
        total += units * count_branch(half, half)
    return total + count_normalized(widths[-1] * head, head) + head * 10 + 10


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_parameters_of_shufflenet_equal_the_count_by_hand(widths: list[int], blocks: int) -> None:
    module = shufflenet_v2.build(*make_ports((1, 8, 8), 10), widths=widths, blocks=blocks, head=24, stem_stride=1)
    assert count_parameters(module) == count_shufflenet_by_hand(widths, blocks, 24)
    assert len(list_strides(module)) == 2 * (len(widths) - 1)  # both branches of a downsampling unit


@given(st.integers(1, 8), st.integers(1, 3))
def test_the_shuffle_equals_that_of_torch(half: int, count: int) -> None:
    x = torch.arange(count * 2 * half * 6.0).reshape(count, 2 * half, 2, 3)
    shuffled = shufflenet_v2.Shuffle()(x)
    assert torch.equal(shuffled, nn.functional.channel_shuffle(x, 2))
    order = shuffled[0, :, 0, 0] / 6
    assert sorted(order.tolist()) == list(range(2 * half))
    strided = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(shufflenet_v2.Shuffle()(strided), shuffled)


def test_a_unit_passes_half_of_its_channels_unchanged() -> None:
    unit = shufflenet_v2.Unit(6).eval()
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


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 2"):
        shufflenet_v2.Options.model_validate(GOOD[shufflenet_v2] | {"widths": [4, 7]})
