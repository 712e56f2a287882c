"""Inputs of tests of distillation: options, networks, batches, and the loss that a method trains on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.models import training
from edgeproof.models.training import Recipe
from edgeproof.models.training_task import Batch, Loss, TrainingTask
from edgeproof.networks import resnet8
from tests.support.method_inputs import RECIPE, SHAPE, make_task
from tests.support.training_tasks import make_ports

DKD = {"temperature": 3.0, "alpha": 0.5, "beta": 4.0}
FEATURES = {"temperature": 3.0, "hard_weight": 0.3, "hint_weight": 2.0}
LAYERS = {"student_layer": "blocks", "teacher_layer": "blocks"}
ATTENTION = {"beta": 50.0, "student_layers": ["stem", "blocks"], "teacher_layers": ["stem", "blocks"]}
RELATIONAL = {"distance_weight": 3.0, "angle_weight": 5.0, "student_layer": "pool", "teacher_layer": "pool"}
# Samples and views of a batch for `make_batch`.
BATCH = ([3, 9, 1, 30, 12, 4], [0, 1, 1, 0, 0, 1])


def build_network(seed: int, widths: tuple[int, ...] = (8, 16), stem_stride: int = 1) -> nn.Module:
    """Build a small resnet8 with random weights."""
    training.make_deterministic(seed, 1)
    return resnet8.build(*make_ports(SHAPE, 4), widths=widths, stem_stride=stem_stride).eval()


def make_batch(task: TrainingTask, samples: list[int], views: list[int]) -> Batch:
    """Build a batch of the given samples, each in the given view."""
    rows = [task.train.select(slice(s, s + 1)).inputs for s in samples]
    changed = [task.view(row, v) if v else row for row, v in zip(rows, views, strict=True)]
    inputs = tuple(torch.cat(parts) for parts in zip(*changed, strict=True))
    return Batch(inputs, task.train.targets[samples], torch.tensor(samples), torch.tensor(views))


def capture_loss(
    method: ModuleType,
    student: nn.Module,
    teacher: nn.Module,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    task: TrainingTask | None = None,
) -> tuple[float, nn.Module]:
    """Return the loss of one batch in evaluation mode, as the method gives it to `fit`, and the module to train.

    Without a `task`, it is that of `make_task`.
    """
    seen = []

    def observe(module: nn.Module, task: TrainingTask, recipe: Recipe, *, loss: Loss) -> nn.Module:
        seen.append((float(loss(module.eval()(*batch.inputs), batch).detach()), module))
        return module

    with monkeypatch.context() as patch:
        patch.setattr(method, "fit", observe)
        method.apply(student, task or make_task(views=2), teacher=teacher, **RECIPE | options)
    return seen[0]


@torch.no_grad()
def compute_layer_output(module: nn.Module, layer: str, x: torch.Tensor) -> np.ndarray:
    """Return the output of a layer of resnet8: stem, blocks or pool."""
    assert isinstance(module, resnet8.ResNet)
    out = module.stem(x)
    if layer in ("blocks", "pool"):
        out = module.blocks(out)
    if layer == "pool":
        out = module.pool(out)
    return out.double().numpy()


@torch.no_grad()
def predict(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Return the logits of a module as float64."""
    return module(x).double().numpy()
