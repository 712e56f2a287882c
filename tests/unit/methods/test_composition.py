"""Two methods one after the other, in either order."""

from __future__ import annotations

import copy
import inspect
import pytest
import torch
import yaml
from dataclasses import replace
from pathlib import Path
from typing import Any
from torch import nn
from edgeproof.core import plugins
from edgeproof.methods import prune_channels
from edgeproof.models import model_files, training
from edgeproof.models.model_files import NetworkSpec
from tests.support.method_inputs import RECIPE, SHAPE, SEEDS, LOGITS, LABELS, make_task, list_weights, build_chain, softmax, hinton_by_hand
from tests.unit.conftest import ROOT

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

# One of each kind: weights, channels, gates, levels of one width, of several.
PAIRED = ["prune_weights", "prune_channels_slimming", "penalize_weights", "prune_l0", "round_weights", "quantize_mixed"]


# distill_transformer serves Transformers, whose channels can't be removed; Keras trains networks of its own.
METHODS = [name for name in plugins.list_names("methods") if name not in ("distill_transformer", "train_keras")]


SPEC = NetworkSpec("resnet8", {"widths": [8, 16], "stem_stride": 1}, SHAPE, 4)


def network() -> nn.Module:
    training.make_deterministic(0, 1)
    return SPEC.build()


def slim(module: nn.Module) -> nn.Module:
    return prune_channels.apply(module, task_of(), **RECIPE | {"epochs": 0}, ratio=0.5, round_to=1)


def applied(name: str, module: nn.Module, *, from_parent: bool = False) -> nn.Module:
    method = plugins.load("methods", name)
    options = yaml.safe_load((ROOT / "conf" / "methods" / f"{name}.yaml").read_text())["options"]
    wanted = inspect.signature(method.apply).parameters
    extra: dict[str, Any] = {"teacher": network()} if "teacher" in wanted else {}
    extra |= {"teachers": [network(), network()]} if "teachers" in wanted else {}
    short = {"epochs": 1, "batch_size": 8, "penalty_epochs": 1}
    options |= {key: value for key, value in short.items() if key in options}
    result: nn.Module = method.apply(module, replace(task_of(), from_parent=from_parent), **extra, **options)
    return result


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_works_on_a_channel_pruned_model_which_is_stored_and_loaded_as_it_is(
    name: str, tmp_path: Path
) -> None:
    result = applied(name, slim(network()))
    model_files.save(result, SPEC, {}, tmp_path / "model")
    loaded, _, _ = model_files.load(tmp_path / "model")
    x = task_of().train_x
    assert training.compute_logits(loaded, x).isfinite().all()
    torch.testing.assert_close(training.compute_logits(loaded, x), training.compute_logits(result, x))


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if not hasattr(plugins.load("methods", n), "FINAL")])
def test_channels_can_be_pruned_after_any_method_that_need_not_be_the_last(name: str) -> None:
    result = applied(name, network())
    parameters = sum(p.numel() for p in result.parameters())
    smaller = slim(copy.deepcopy(result))
    assert sum(p.numel() for p in smaller.parameters()) < parameters
    assert training.compute_logits(smaller, task_of().train_x).isfinite().all()


@pytest.mark.parametrize("second", PAIRED)
@pytest.mark.parametrize("first", PAIRED)
def test_any_two_methods_follow_each_other(first: str, second: str) -> None:
    result = applied(second, applied(first, network()))
    assert training.compute_logits(result, task_of().train_x).isfinite().all()


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if n != "quantize_aware"])
def test_what_was_pruned_stays_pruned(name: str) -> None:
    # Rows of kernels, since they stay where they are when channels are removed.
    parent = training.fit(network(), task_of(), training.Recipe(**RECIPE))
    with torch.no_grad():
        for layer in kernels_of(parent):
            layer.weight[:, :, 1] = 0
    result = applied(name, parent, from_parent=True)
    assert kernels_of(result)
    for layer in kernels_of(result):
        assert not layer.weight[:, :, 1].any()
        assert bool(layer.weight[:, :, 2].any())


def kernels_of(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
