"""Strided 1×1 convolutions are computed in two steps during training, with the same results."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from edgeproof.models.strided_convolutions import get_block_channels, is_affected, replace_strided_convolutions


def build_block(channels: int, stride: int, kernel: int = 1, padding: int = 0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 6, kernel, stride=stride, padding=padding), nn.ReLU())


@pytest.mark.parametrize(
    ("instructions", "channels", "kernel", "affected"),
    [
        ("AVX2", 7, 1, True),
        ("AVX2", 8, 1, False),
        ("AVX512", 15, 1, True),
        ("AVX512", 16, 1, False),
        ("AVX512", 4, 3, False),
        ("DEFAULT", 4, 1, False),
    ],
)
def test_only_convolutions_of_one_pixel_on_less_than_a_block_are_affected(
    instructions: str, channels: int, kernel: int, affected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: instructions)
    weights = build_block(channels, 2, kernel).parameters()
    assert any(is_affected(weight, get_block_channels()) for weight in weights) is affected


def test_training_with_a_strided_convolution_on_twelve_channels_survives_on_this_processor() -> None:
    """Batches of this size ended with a segmentation fault on a processor with AVX-512."""
    code = (
        "import torch\n"
        "from torch import nn\n"
        "from edgeproof.models.strided_convolutions import replace_strided_convolutions\n"
        "block = nn.Conv2d(12, 24, 1, stride=2).to(memory_format=torch.channels_last)\n"
        "images = torch.ones(16, 12, 96, 128).to(memory_format=torch.channels_last).requires_grad_()\n"
        "with replace_strided_convolutions(block):\n"
        "    for _ in range(3):\n"
        "        block(images).sum().backward()\n"
        "assert block.weight.grad.eq(3 * 16 * 48 * 64).all()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_convolution_with_padding_keeps_its_stride() -> None:
    block = build_block(4, 2, padding=1)
    images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with replace_strided_convolutions(block, block_channels=8):
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
    with replace_strided_convolutions(block, block_channels=8):
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
    for block_channels in (8, 0):  # contiguous images are safe on every processor
        with replace_strided_convolutions(graph, block_channels=block_channels):
            gradients.append(torch.autograd.grad(graph(images).square().sum(), list(graph.parameters())))
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)
