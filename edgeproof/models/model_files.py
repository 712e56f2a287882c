"""Models on disk: a module's weights and its meta, and back again.

A model directory holds weights.safetensors and meta.json. The meta names the network that builds the module;
where pruning has removed channels, the layers take their sizes from the weights, so no pruning history is needed.
A network whose file says FRAMEWORK = "keras" builds a keras.Model instead; all that follows from it is here. Of a
network with fake quantization (see qat.py) the meta also says for which runtime, and the network's own sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeproof.config import packages
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, write_atomically, write_meta
from edgeproof.core.errors import ArtifactError
from edgeproof.models import qat, training
from edgeproof.models.entropy_coding import count_entropy_coded_bytes

WEIGHTS = "weights.safetensors"
KERAS = "keras"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a module again: the plugin, its options and what it maps from and to."""

    name: str
    options: Mapping[str, Any]
    input_shape: Sequence[int]
    classes: int

    def build(self) -> Any:
        """Build the untrained module or keras.Model. Raises UnknownName when no file provides the network."""
        plugin = plugins.load("networks", self.name)
        return plugin.build(tuple(self.input_shape), self.classes, **self.options)

    def to_meta(self) -> dict[str, Any]:
        """The form stored in meta.json."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
        }


def save(module: Any, spec: NetworkSpec, meta: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Write a model directory: weights, and `meta` with the facts that can be computed from the module."""
    with write_atomically(directory) as out:
        try:
            _save_weights(module, out / WEIGHTS)
        except safetensors.SafetensorError as error:
            raise OSError(0, str(error)) from error
        described = {**meta, "network": spec.to_meta(), **compute_facts(module, spec.input_shape)}
        if isinstance(module, qat.FakeQuantizedModule):
            described["prepared"] = {"runtime": module.runtime, "shapes": module.shapes}
        write_meta(out, described)
    return described


def _save_weights(module: Any, path: Path) -> None:
    if isinstance(module, nn.Module):
        # Cloned, since fake quantizations that share their range share its tensors, which safetensors refuses.
        state = module.eval().state_dict()
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
        safetensors.torch.save_file(tensors, path)
    else:
        from edgeproof.models import keras_models

        safetensors.numpy.save_file(keras_models.read_weights(module), path)


def load(directory: Path) -> tuple[Any, NetworkSpec, dict[str, Any]]:
    """Read a model directory into an evaluation-mode module (or a keras.Model), its spec and its meta.

    Raises ArtifactError when the directory is missing or damaged, or does not fit its network.
    """
    meta = read_meta(directory)
    spec = NetworkSpec(**meta["network"])
    module = spec.build()
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        keras_models.load_weights(module, safetensors.numpy.load_file(directory / WEIGHTS), directory / WEIGHTS)
        return module, spec, meta
    weights = safetensors.torch.load_file(directory / WEIGHTS)
    if prepared := meta.get("prepared"):
        packages.require(meta.get("packages", {}))
        resize_layers(module, {name: torch.empty(shape) for name, shape in prepared["shapes"].items()})
        module = qat.prepare(module, prepared["runtime"], spec.input_shape)
    else:
        resize_layers(module, weights)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"{directory / WEIGHTS} does not fit network '{spec.name}' ({str(error).splitlines()[0]}). "
            "Build it again with 'dvc repro'."
        ) from error
    return module.eval(), spec, meta


def resize_layers(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
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


def make_deterministic(network: str, seed: int, threads: int) -> None:
    """Make all that follows with a network reproducible to the bit, in its framework and in torch."""
    training.make_deterministic(seed, threads)
    if getattr(plugins.load("networks", network), "FRAMEWORK", None) == KERAS:
        from edgeproof.models import keras_models

        keras_models.make_deterministic(seed, threads)


def measure_accuracy(module: Any, x: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of a task's samples `x` whose highest output is its label."""
    if isinstance(module, nn.Module):
        return training.measure_accuracy(module, x, labels)
    return float((predict(module, x.numpy()).argmax(1) == labels.numpy()).mean())


def predict(module: Any, samples: Array) -> Array:
    """What a module or a keras.Model answers to a task's samples, (N, classes)."""
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        return keras_models.predict(module, samples)
    with torch.no_grad():
        found: Array = module(torch.from_numpy(samples)).numpy()
    return found


def compute_facts(module: Any, input_shape: Sequence[int]) -> dict[str, Any]:
    """Parameters, multiply-accumulates of one inference, the share of exact zeros in weight tensors, and coded size.

    Multiply-accumulates are those of convolutions and matrix products, half of what torch's FlopCounterMode counts. The
    entropy-coded size is that of all floating-point tensors, the statistics of normalizations among them. Parameters of
    a network with fake quantization are those of the network it was made from.
    """
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        return keras_models.compute_facts(module)
    if isinstance(module, qat.FakeQuantizedModule):
        parameters, state = module.original_parameter_count, module.inference_state()
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
        "entropy_coded_bytes": count_entropy_coded_bytes(stored),
    }
