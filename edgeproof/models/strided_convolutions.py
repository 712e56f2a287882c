"""Compute the gradients of some strided 1×1 convolutions without kernels of oneDNN that overwrite foreign memory.

On x86 processors, oneDNN computes the gradient of the weights of a 1×1 convolution with a stride above 1 by a kernel
that writes past its workspace if the images are stored channels last and have fewer channels than the kernel's block:
8 with AVX2 and 16 with AVX-512 (https://github.com/uxlfoundation/oneDNN/issues/6035). The gradients are wrong, or the
process crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

# The channels of a block of the faulty kernel, by the instructions for which torch and oneDNN choose their kernels.
BLOCK_CHANNELS = {"AVX2": 8, "AVX512": 16}
# A layer calls the first, a graph with fake quantization the second.
CONVOLUTIONS = (torch.conv2d, torch.ops.aten.conv2d.default)


@contextmanager
def replace_strided_convolutions(module: nn.Module, *, block_channels: int | None = None) -> Iterator[None]:
    """Within the context, let the affected convolutions take every n-th pixel first and then have stride 1.

    The outputs and the gradients are the same. `block_channels` is the number of channels below which a convolution is
    affected, 0 for none; None takes that of this processor. Other convolutions stay identical to the bit.
    """
    block = get_block_channels() if block_channels is None else block_channels
    if any(is_affected(weight, block) for weight in module.parameters()):
        with _Subsampling(block):
            yield
    else:
        yield


def get_block_channels() -> int:
    """Return the channels of a block of the kernel that oneDNN chooses on this processor, 0 without a faulty kernel."""
    return BLOCK_CHANNELS.get(torch.backends.cpu.get_cpu_capability(), 0)


def is_affected(weight: torch.Tensor, block_channels: int) -> bool:
    """Return True for the weight of a 1×1 convolution on fewer channels than a block has."""
    return weight.dim() == 4 and weight.shape[1] < block_channels and weight.shape[2:] == (1, 1)


class _Subsampling(TorchFunctionMode):
    """Replaces each call of an affected convolution with a stride."""

    def __init__(self, block_channels: int) -> None:
        super().__init__()
        self.block_channels = block_channels

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Images, weight, bias, stride, padding, …
        if (
            func in CONVOLUTIONS
            and len(args) > 3
            and is_affected(args[1], self.block_channels)
            and not any((*args, ())[4])
        ):
            images, weight, bias, (rows, columns), *rest = args
            args = (images[:, :, ::rows, ::columns], weight, bias, (1, 1), *rest)
        return func(*args, **(kwargs or {}))
