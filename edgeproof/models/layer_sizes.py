"""Fit the layers of a network to stored tensors, as after channel pruning. It needs torch alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def resize_layers(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give every convolution, linear layer and batch normalization the size of its stored tensors."""
    for name, layer in module.named_modules():
        weight = weights.get(f"{name}.weight")
        if weight is None or not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        _resize(layer, weight)
        for key, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            stored = weights.get(f"{name}.{key}")
            if stored is not None:
                empty = torch.empty_like(stored)
                setattr(layer, key, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)


def _resize(layer: nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d, weight: torch.Tensor) -> None:
    """Set the size attributes of a layer to those of its stored weight."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1 and layer.groups == layer.in_channels:  # depthwise
            layer.groups = weight.shape[0] * layer.in_channels // layer.out_channels
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.num_features = weight.shape[0]
