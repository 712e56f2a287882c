"""Small versions of every network, with default options and parameter counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from torch import nn

from edgeproof.core import plugins
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.training import make_deterministic
from edgeproof.models.training_task import TrainingTask
from tests.support.network_kinds import VOCABULARY, Interface, find_kind

CONF = Path(__file__).parents[2] / "conf"
# Options that differ from the defaults in conf/networks. A network that is not listed uses only its defaults.
TINY: dict[str, dict[str, Any]] = {
    "autoencoder": {"hidden": [32, 16], "code": 8},
    "bert": {"vocabulary": VOCABULARY, "width": 16, "depth": 1, "heads": 2, "inner": 32},
    "cnn2": {"widths": [4, 6], "hidden": 16},
    "cnn_1d": {"widths": [8, 12]},
    "ds_cnn": {"width": 16, "blocks": 2, "stem_kernel": [3, 3], "stem_stride": 1},
    "ds_cnn_1d": {"width": 16, "blocks": 2, "kernel": 3, "stem_kernel": 3, "stem_stride": 1},
    "gru": {"hidden": 16},
    "mlp": {"hidden": [32, 16]},
    "mobilenet_v1": {"widths": [8, 16], "blocks": 2, "stem_stride": 1},
    "mobilenet_v2": {"widths": [8, 12], "blocks": 2, "expansion": 2, "head": 16, "stem_stride": 1},
    "resnet18": {"widths": [8, 12], "blocks": 1},
    "resnet8": {"widths": [8, 12], "stem_stride": 1},
    "shufflenet_v2": {"widths": [8, 16], "blocks": 2, "head": 16, "stem_stride": 1},
    "simple_cnn": {"widths": [8, 16], "hidden": 16},
    "tiny_yolo": {"widths": [8, 12, 16], "blocks": 1, "neck": 16, "head": 1},
    "transformer": {"patch": [2, 2], "width": 16, "depth": 1, "heads": 2, "expansion": 2},
}


def list_torch_plugins(kind: str) -> list[str]:
    """Return the networks or methods of torch. tests/unit/networks/test_keras_networks.py covers those of Keras."""
    return [name for name in plugins.list_names(kind) if not hasattr(plugins.load(kind, name), "FRAMEWORK")]


def read_default_options(kind: str, name: str) -> dict[str, Any]:
    """Return the options of a definition in conf/."""
    options: dict[str, Any] = yaml.safe_load((CONF / kind / f"{name}.yaml").read_text(encoding="utf-8"))["options"]
    return options


def read_short_options(method: str) -> dict[str, Any]:
    """Return the default options of a method for one epoch, or one round of two clients, of small batches."""
    options = read_default_options("methods", method)
    short = {"clients": 2, "rounds": 1, "local_epochs": 1} if "rounds" in options else {"epochs": 1}
    return options | short | {"batch_size": 8}


def build_tiny_spec(name: str, interface: Interface | None = None) -> NetworkSpec:
    """Return the spec of the small version of a network, by default for the tiny interface of its kind."""
    options = read_default_options("networks", name) | TINY.get(name, {})
    return NetworkSpec(name, options, *(interface or find_kind(name).tiny))


def build_tiny_module(name: str, interface: Interface | None = None) -> nn.Module:
    """Build the small version of a network with random weights and random batch statistics."""
    make_deterministic(0, 1)
    module: nn.Module = build_tiny_spec(name, interface).build()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


def prune_half_the_channels(module: nn.Module, task: TrainingTask) -> nn.Module:
    """Remove half of the channels with prune_channels, without training."""
    method = plugins.load("methods", "prune_channels")
    options = read_default_options("methods", "prune_channels") | {"epochs": 0, "ratio": 0.5, "round_to": 2}
    result: nn.Module = method.apply(module, task, **options)
    return result


def count_resnet8_parameters(channels: int, classes: int, widths: list[int]) -> int:
    """Count the parameters of resnet8 by hand.

    3×3 convolutions without bias, two parameters for each normalized channel, 1×1 shortcuts, a classifier with bias.
    """
    total = 9 * channels * widths[0] + 2 * widths[0]
    channels_in = widths[0]
    for number, width in enumerate(widths):
        total += 9 * channels_in * width + 2 * width + 9 * width * width + 2 * width
        if number > 0 or channels_in != width:
            total += channels_in * width + 2 * width
        channels_in = width
    return total + widths[-1] * classes + classes
