"""Every network, built as small as it still shows all its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from edgeproof.core import plugins
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.training import TrainingTask, deterministic

CONF = Path(__file__).parents[2] / "conf"
CLASSES = 10
# What differs from the definition's defaults. A network that is not listed is built as its definition says.
TINY: dict[str, dict[str, Any]] = {
    "cnn2": {"widths": [4, 6], "hidden": 16},
    "gru": {"hidden": 16},
    "mlp": {"hidden": [32, 16]},
    "mobilenet_v1": {"widths": [8, 16], "blocks": 2, "stem_stride": 1},
    "mobilenet_v2": {"widths": [8, 12], "blocks": 2, "expansion": 2, "head": 16, "stem_stride": 1},
    "resnet8": {"widths": [8, 12], "stem_stride": 1},
    "shufflenet_v2": {"widths": [8, 16], "blocks": 2, "head": 16, "stem_stride": 1},
    "transformer": {"patch": [2, 2], "width": 16, "depth": 1, "heads": 2, "expansion": 2},
}


def of_torch(kind: str) -> list[str]:
    """The networks or methods of torch; tests/unit/test_keras_networks.py has those of Keras."""
    return [name for name in plugins.names(kind) if not hasattr(plugins.load(kind, name), "FRAMEWORK")]


def defaults(kind: str, name: str) -> dict[str, Any]:
    """The options that a definition gives."""
    options: dict[str, Any] = yaml.safe_load((CONF / kind / f"{name}.yaml").read_text(encoding="utf-8"))["options"]
    return options


def tiny_spec(name: str, shape: Sequence[int]) -> NetworkSpec:
    return NetworkSpec(name, defaults("networks", name) | TINY.get(name, {}), shape, CLASSES)


def tiny_module(name: str, shape: Sequence[int]) -> nn.Module:
    """The network with random weights and, where it normalizes batches, statistics that matter."""
    deterministic(0, 1)
    module = tiny_spec(name, shape).build()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


def random_task(shape: Sequence[int], samples: int = 24) -> TrainingTask:
    """Random images with labels in turn."""
    x = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(samples) % CLASSES
    return TrainingTask("random", tuple(shape), CLASSES, x, labels, x, labels, 1, lambda batch, k: batch, 0, 1)


def pruned(module: nn.Module, task: TrainingTask) -> nn.Module:
    """The module with half of its channels removed by prune_channels, without training."""
    method = plugins.load("methods", "prune_channels")
    options = defaults("methods", "prune_channels") | {"epochs": 0, "ratio": 0.5, "round_to": 2}
    result: nn.Module = method.apply(module, task, **options)
    return result
