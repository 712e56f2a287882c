"""Two methods one after the other, in either order."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from edgeproof.core import plugins
from edgeproof.methods import prune_channels
from edgeproof.models import model_files, training
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.training_task import compute_outputs
from tests.support.method_inputs import RECIPE, SHAPE, make_task
from tests.support.project import ROOT
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

# One method of each kind: weights, channels, gates, one bit width, several bit widths.
PAIRED = ["prune_weights", "prune_channels_slimming", "penalize_weights", "prune_l0", "round_weights", "quantize_mixed"]


# distill_transformer needs Transformers, whose channels can't be removed; train_keras needs Keras networks; fine_tune
# needs a file of published weights.
UNFIT = ("brought", "distill_transformer", "fine_tune", "pretrained", "pretrained_keras", "train_keras")
METHODS = [name for name in plugins.list_names("methods") if name not in UNFIT]
SPEC = NetworkSpec("resnet8", {"widths": [8, 16], "stem_stride": 1}, *make_ports(SHAPE, 4))


def build_network() -> nn.Module:
    training.make_deterministic(0, 1)
    return SPEC.build()


def remove_half_the_channels(module: nn.Module) -> nn.Module:
    return prune_channels.apply(module, make_task(), **RECIPE | {"epochs": 0}, ratio=0.5, round_to=1)


def apply_method(name: str, module: nn.Module, *, from_parent: bool = False) -> nn.Module:
    method = plugins.load("methods", name)
    options = yaml.safe_load((ROOT / "conf" / "methods" / f"{name}.yaml").read_text())["options"]
    parameters = inspect.signature(method.apply).parameters
    extra: dict[str, Any] = {"teacher": build_network()} if "teacher" in parameters else {}
    extra |= {"teachers": [build_network(), build_network()]} if "teachers" in parameters else {}
    short = {"epochs": 1, "batch_size": 8, "penalty_epochs": 1, "clients": 2, "rounds": 1, "local_epochs": 1}
    options |= {key: value for key, value in short.items() if key in options}
    result: nn.Module = method.apply(module, replace(make_task(), from_parent=from_parent), **extra, **options)
    return result


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_works_on_a_channel_pruned_model_that_can_be_stored(name: str, tmp_path: Path) -> None:
    result = apply_method(name, remove_half_the_channels(build_network()))
    model_files.save(result, SPEC, {}, tmp_path / "model")
    loaded, _, _ = model_files.load(tmp_path / "model")
    x = make_task().train.inputs[0]
    assert compute_outputs(loaded, (x,)).isfinite().all()
    torch.testing.assert_close(compute_outputs(loaded, (x,)), compute_outputs(result, (x,)))


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if not hasattr(plugins.load("methods", n), "FINAL")])
def test_channels_can_be_pruned_after_every_method_that_is_not_final(name: str) -> None:
    result = apply_method(name, build_network())
    parameters = sum(p.numel() for p in result.parameters())
    smaller = remove_half_the_channels(copy.deepcopy(result))
    assert sum(p.numel() for p in smaller.parameters()) < parameters
    assert compute_outputs(smaller, (make_task().train.inputs[0],)).isfinite().all()


@pytest.mark.parametrize("second", PAIRED)
@pytest.mark.parametrize("first", PAIRED)
def test_any_method_can_follow_any_other(first: str, second: str) -> None:
    result = apply_method(second, apply_method(first, build_network()))
    assert compute_outputs(result, (make_task().train.inputs[0],)).isfinite().all()


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if n != "quantize_aware"])
def test_zero_weights_stay_zero(name: str) -> None:
    # Zero a row of every kernel, since rows stay in place when channels are removed.
    parent = training.fit(build_network(), make_task(), training.Recipe(**RECIPE))
    with torch.no_grad():
        for layer in list_kernels(parent):
            layer.weight[:, :, 1] = 0
    result = apply_method(name, parent, from_parent=True)
    assert list_kernels(result)
    for layer in list_kernels(result):
        assert not layer.weight[:, :, 1].any()
        assert bool(layer.weight[:, :, 2].any())


def list_kernels(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
