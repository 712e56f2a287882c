"""Models on disk: a module's weights and its meta, and back again.

A model directory holds weights.safetensors and meta.json. The meta names the network that builds the module;
where pruning has removed channels, the layers take their sizes from the weights, so no pruning history is needed.
Of a network with fake quantization (see qat.py) the meta also says for which runtime, and the network's own sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from . import packages, qat
from .core import plugins
from .core.directories import read_meta, write_meta, written_whole
from .core.errors import ArtifactError
from .entropy_coding import entropy_coded_bytes

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a module again: the plugin, its options and what it maps from and to."""

    name: str
    options: Mapping[str, Any]
    input_shape: Sequence[int]
    classes: int

    def build(self) -> nn.Module:
        """Build the untrained module. Raises UnknownName when no file provides the network."""
        plugin = plugins.load("networks", self.name)
        module: nn.Module = plugin.build(tuple(self.input_shape), self.classes, **self.options)
        return module

    def as_meta(self) -> dict[str, Any]:
        """The form stored in meta.json."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
        }


def save(module: nn.Module, spec: NetworkSpec, meta: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Write a model directory: weights, and `meta` with the facts that can be computed from the module."""
    module = module.eval()
    # Cloned, since fake quantizations that share their range share its tensors, which safetensors refuses.
    state = module.state_dict()
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    with written_whole(directory) as out:
        try:
            safetensors.torch.save_file(tensors, out / WEIGHTS)
        except safetensors.SafetensorError as error:
            raise OSError(0, str(error)) from error
        described = {**meta, "network": spec.as_meta(), **facts(module, spec.input_shape)}
        if isinstance(module, qat.Prepared):
            described["prepared"] = {"runtime": module.runtime, "shapes": module.shapes}
        write_meta(out, described)
    return described


def load(directory: Path) -> tuple[nn.Module, NetworkSpec, dict[str, Any]]:
    """Read a model directory into an evaluation-mode module, its spec and its meta.

    Raises ArtifactError when the directory is missing or damaged, or does not fit its network.
    """
    meta = read_meta(directory)
    spec = NetworkSpec(**meta["network"])
    module = spec.build()
    weights = safetensors.torch.load_file(directory / WEIGHTS)
    if prepared := meta.get("prepared"):
        packages.require(meta.get("packages", {}))
        fit_shapes(module, {name: torch.empty(shape) for name, shape in prepared["shapes"].items()})
        module = qat.prepare(module, prepared["runtime"], spec.input_shape)
    else:
        fit_shapes(module, weights)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"{directory / WEIGHTS} does not fit network '{spec.name}' ({str(error).splitlines()[0]}). "
            "Build it again with 'dvc repro'."
        ) from error
    return module.eval(), spec, meta


def fit_shapes(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give every convolution, linear and batch-norm layer the size that its stored tensors have."""
    for name, layer in module.named_modules():
        weight = weights.get(f"{name}.weight")
        if weight is None or not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            continue
        if isinstance(layer, nn.Conv2d):
            if layer.groups > 1 and layer.groups == layer.in_channels:
                layer.groups = weight.shape[0] * layer.in_channels // layer.out_channels
            layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = weight.shape
        else:
            layer.num_features = weight.shape[0]
        for key, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            stored = weights.get(f"{name}.{key}")
            if stored is not None:
                empty = torch.empty_like(stored)
                setattr(layer, key, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)


def facts(module: nn.Module, input_shape: Sequence[int]) -> dict[str, Any]:
    """Parameters, multiply-accumulates of one inference, the share of exact zeros in weight tensors, and coded size.

    Multiply-accumulates are those of convolutions and matrix products, half of what torch's FlopCounterMode counts. The
    entropy-coded size is that of all floating-point tensors, the statistics of normalizations among them. Parameters of
    a network with fake quantization are those of the network it was made from.
    """
    if isinstance(module, qat.Prepared):
        parameters, state = module.own_parameters, module.inference_state()
    else:
        parameters, state = sum(p.numel() for p in module.parameters()), module.state_dict()
    weights = [p.detach() for p in module.parameters() if p.dim() > 1]
    total = sum(w.numel() for w in weights)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(1, *input_shape))
    stored = {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
    return {
        "parameters": parameters,
        "macs": counter.get_total_flops() // 2,
        "weight_sparsity": round(sum(int((w == 0).sum()) for w in weights) / total, 6) if total else 0.0,
        "entropy_coded_bytes": entropy_coded_bytes(stored),
    }
