"""Compute the gradients of some strided 1×1 convolutions without a kernel of oneDNN that overwrites foreign memory.

On processors with AVX2 and without AVX-512, oneDNN computes the gradient of the weights of a 1×1 convolution with a
stride above 1 by a kernel that writes past its workspace if the images are stored channels last and have fewer than 8
channels: https://github.com/uxlfoundation/oneDNN/issues/6035. The gradients are wrong, or the process crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

# The kernel works on blocks of this many channels.
BLOCK_CHANNELS = 8
# A layer calls the first, a graph with fake quantization the second.
CONVOLUTIONS = (torch.conv2d, torch.ops.aten.conv2d.default)


@contextmanager
def replace_strided_convolutions(module: nn.Module, *, is_needed: bool | None = None) -> Iterator[None]:
    """Within the context, let the affected convolutions take every n-th pixel first and then have stride 1.

    The outputs and the gradients are the same. `is_needed` says whether this processor has the faulty kernel; None
    detects it. Elsewhere nothing changes, so results stay identical to the bit.
    """
    if (uses_faulty_kernel() if is_needed is None else is_needed) and any(map(is_affected, module.parameters())):
        with _Subsampling():
            yield
    else:
        yield


def uses_faulty_kernel() -> bool:
    """Return True if oneDNN chooses its kernels for AVX2 on this processor."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def is_affected(weight: torch.Tensor) -> bool:
    """Return True for the weight of a 1×1 convolution on fewer channels than a block has."""
    return weight.dim() == 4 and weight.shape[1] < BLOCK_CHANNELS and weight.shape[2:] == (1, 1)


class _Subsampling(TorchFunctionMode):
    """Replaces each call of an affected convolution with a stride."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Images, weight, bias, stride, padding, …
        if func in CONVOLUTIONS and len(args) > 3 and is_affected(args[1]) and not any((*args, ())[4]):
            images, weight, bias, (rows, columns), *rest = args
            args = (images[:, :, ::rows, ::columns], weight, bias, (1, 1), *rest)
        return func(*args, **(kwargs or {}))
