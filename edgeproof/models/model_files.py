"""Save and load models. A model directory holds weights.safetensors and meta.json.

meta.json names the network that builds the module. Channel pruning changes the sizes of layers; they are read from the
stored tensors, so no history of the pruning is needed. For a network with fake quantization (qat.py), meta.json also
names the runtime and the tensor shapes of the network that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from edgeproof.config import packages
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, write_atomically, write_meta
from edgeproof.core.errors import ArtifactError, summarize_error
from edgeproof.core.ports import Port
from edgeproof.models import frameworks, qat
from edgeproof.models.layer_sizes import resize_layers

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a network: the name of its plugin, its options, its inputs and its outputs."""

    name: str
    options: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def build(self) -> Any:
        """Build the untrained module or keras.Model. Raises UnknownNameError when no file provides the network."""
        plugin = plugins.load("networks", self.name)
        return plugin.build(self.inputs, self.outputs, **self.options)

    def to_meta(self) -> dict[str, Any]:
        """Return the entry of meta.json."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "inputs": [port.to_json() for port in self.inputs],
            "outputs": [port.to_json() for port in self.outputs],
        }

    @classmethod
    def from_meta(cls, content: Mapping[str, Any]) -> NetworkSpec:
        """Return the network in a meta.json. Models of version 0.1 have one input shape and a number of classes."""
        if "classes" in content:
            inputs = (Port("image", tuple(content["input_shape"])),)
            return cls(content["name"], content["options"], inputs, (Port("logits", (content["classes"],)),))
        ports = {key: tuple(Port.from_json(port) for port in content[key]) for key in ("inputs", "outputs")}
        return cls(content["name"], content["options"], **ports)


def save(module: Any, spec: NetworkSpec, meta: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Write a model directory and return its meta: `meta`, the network and the facts computed from the module."""
    with write_atomically(directory) as out:
        try:
            _save_weights(module, out / WEIGHTS)
        except safetensors.SafetensorError as error:
            raise OSError(0, str(error)) from error
        facts = frameworks.compute_facts(module, spec.inputs).to_meta()
        complete_meta = {**meta, "network": spec.to_meta(), **facts}
        if isinstance(module, qat.FakeQuantizedModule):
            complete_meta["prepared"] = {"runtime": module.runtime, "shapes": module.original_shapes}
        write_meta(out, complete_meta)
    return complete_meta


def _save_weights(module: Any, path: Path) -> None:
    if isinstance(module, nn.Module):
        # Fake quantizations with a common range share its tensors. safetensors refuses shared tensors, so clone them.
        state = module.eval().state_dict()
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
        safetensors.torch.save_file(tensors, path)
    else:
        from edgeproof.models import keras_models

        safetensors.numpy.save_file(keras_models.read_weights(module), path)


def load(directory: Path) -> tuple[Any, NetworkSpec, dict[str, Any]]:
    """Read a model directory. Return the module in evaluation mode (or a keras.Model), its spec and its meta.

    Raises ArtifactError when the directory is missing or damaged, or does not fit its network.
    """
    meta = read_meta(directory)
    spec = NetworkSpec.from_meta(meta["network"])
    module = spec.build()
    path = directory / WEIGHTS
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        keras_models.load_weights(module, safetensors.numpy.load_file(path), path)
        return module, spec, meta
    weights = safetensors.torch.load_file(path)
    if prepared := meta.get("prepared"):
        packages.require(meta.get("packages", {}))
        resize_layers(module, {name: torch.empty(shape) for name, shape in prepared["shapes"].items()})
        module = qat.prepare(module, prepared["runtime"], spec.inputs)
    else:
        resize_layers(module, weights)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} does not fit network '{spec.name}' ({summarize_error(error)}). Build the model again with "
            "'dvc repro'."
        ) from error
    return module.eval(), spec, meta
