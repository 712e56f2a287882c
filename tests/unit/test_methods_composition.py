"""Methods one after the other, in either order: after channels were pruned, and before."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from edgeproof import models, training
from edgeproof.core import plugins
from edgeproof.methods import prune_channels
from edgeproof.models import NetworkSpec

from .conftest import ROOT
from .test_methods import RECIPE, SHAPE, task_of

pytestmark = pytest.mark.usefixtures("torch_settings_kept")

METHODS = [path.stem for path in (ROOT / "conf" / "methods").glob("*.yaml")]
SPEC = NetworkSpec("resnet8", {"widths": [8, 16], "stem_stride": 1}, SHAPE, 4)


def network() -> nn.Module:
    training.deterministic(0, 1)
    return SPEC.build()


def slim(module: nn.Module) -> nn.Module:
    return prune_channels.apply(module, task_of(), **RECIPE | {"epochs": 0}, ratio=0.5, round_to=1)


def applied(name: str, module: nn.Module) -> nn.Module:
    method = plugins.load("methods", name)
    options = yaml.safe_load((ROOT / "conf" / "methods" / f"{name}.yaml").read_text())["options"]
    extra: dict[str, Any] = {"teacher": network()} if "teacher" in inspect.signature(method.apply).parameters else {}
    result: nn.Module = method.apply(module, task_of(), **extra, **options | {"epochs": 1, "batch_size": 8})
    return result


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_works_on_a_channel_pruned_model_which_is_stored_and_loaded_as_it_is(
    name: str, tmp_path: Path
) -> None:
    result = applied(name, slim(network()))
    models.save(result, SPEC, {}, tmp_path / "model")
    loaded, _, _ = models.load(tmp_path / "model")
    x = task_of().train_x
    assert training.logits_of(loaded, x).isfinite().all()
    torch.testing.assert_close(training.logits_of(loaded, x), training.logits_of(result, x))


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if not hasattr(plugins.load("methods", n), "FINAL")])
def test_channels_can_be_pruned_after_any_method_that_need_not_be_the_last(name: str) -> None:
    result = applied(name, network())
    parameters = sum(p.numel() for p in result.parameters())
    smaller = slim(copy.deepcopy(result))
    assert sum(p.numel() for p in smaller.parameters()) < parameters
    assert training.logits_of(smaller, task_of().train_x).isfinite().all()
