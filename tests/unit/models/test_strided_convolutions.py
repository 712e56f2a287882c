"""Strided 1×1 convolutions are computed in two steps during training, with the same results."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeproof.models.strided_convolutions import is_affected, replace_strided_convolutions


def build_block(channels: int, stride: int, kernel: int = 1, padding: int = 0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 6, kernel, stride=stride, padding=padding), nn.ReLU())


@pytest.mark.parametrize(("channels", "kernel", "affected"), [(4, 1, True), (7, 1, True), (8, 1, False), (4, 3, False)])
def test_only_convolutions_of_one_pixel_on_few_channels_are_affected(
    channels: int, kernel: int, affected: bool
) -> None:
    assert any(map(is_affected, build_block(channels, 2, kernel).parameters())) is affected


def test_a_convolution_with_padding_keeps_its_stride() -> None:
    block = build_block(4, 2, padding=1)
    images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with replace_strided_convolutions(block, is_needed=True):
        outputs = block(images)
    assert outputs.shape == (2, 6, 5, 5)
    torch.testing.assert_close(outputs, block(images))


@pytest.mark.parametrize("stride", [2, 3])
def test_outputs_and_gradients_are_those_of_a_matrix_product(stride: int) -> None:
    block = build_block(4, stride)
    layer = block[0]
    assert isinstance(layer, nn.Conv2d)
    images = torch.randn(5, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    with replace_strided_convolutions(block, is_needed=True):
        outputs = block(images)
        outputs.square().sum().backward()
    weight = layer.weight.detach()[:, :, 0, 0].clone().requires_grad_()
    plain = images.detach().clone().requires_grad_()
    pixels = plain[:, :, ::stride, ::stride]
    assert layer.bias is not None
    expected = (torch.einsum("oc,nchw->nohw", weight, pixels) + layer.bias.detach()[:, None, None]).relu()
    expected.square().sum().backward()
    torch.testing.assert_close(outputs, expected)
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], weight.grad)
    torch.testing.assert_close(images.grad, plain.grad)


def test_an_exported_graph_gives_the_same_gradients_in_both_ways() -> None:
    block = build_block(4, 2)
    images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    graph = torch.export.export(block, (images,)).module()
    gradients = []
    for is_needed in (True, False):  # contiguous images are safe on every processor
        with replace_strided_convolutions(graph, is_needed=is_needed):
            gradients.append(torch.autograd.grad(graph(images).square().sum(), list(graph.parameters())))
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)
