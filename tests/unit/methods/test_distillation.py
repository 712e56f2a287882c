"""Behaviour that several distillation methods share."""

from __future__ import annotations

import copy
import numpy as np
import pytest
import torch
from types import ModuleType
from typing import Any
from hypothesis import given, strategies as st
from pydantic import ValidationError
from torch import nn
from edgeproof.core.errors import ConfigError
from edgeproof.methods import distill, distill_attention, distill_dkd, distill_ensemble, distill_features, distill_relational, distill_transformer, train
from edgeproof.models import training
from edgeproof.models.training import Batch, Recipe, TrainingTask
from edgeproof.networks import gru, resnet8, transformer
from tests.support.method_inputs import RECIPE, SHAPE, SEEDS, LOGITS, LABELS, make_task, list_weights, build_chain, softmax, hinton_by_hand
from tests.support.distillation_inputs import DKD, FEATURES, LAYERS, ATTENTION, RELATIONAL, BATCH, build_network, make_batch, capture_loss, compute_layer_output, predict

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

@pytest.mark.parametrize(
    ("method", "weightless"),
    [
        (distill_dkd, DKD | {"alpha": 0, "beta": 0}),
        (distill_relational, RELATIONAL | {"distance_weight": 0, "angle_weight": 0}),
    ],
)
def test_without_weights_for_the_teacher_distillation_is_training(method: ModuleType, weightless: Any) -> None:
    student, teacher = network(0), network(1)
    alone = train.apply(copy.deepcopy(student), task_of(), **RECIPE)
    distilled = method.apply(student, task_of(), teacher=teacher, **RECIPE | weightless)
    for p, q in zip(distilled.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "options"),
    [(distill_attention, ATTENTION), (distill_relational, RELATIONAL), (distill_features, FEATURES | LAYERS)],
)
def test_a_teacher_answers_in_evaluation_mode_and_is_not_trained(method: ModuleType, options: dict[str, Any]) -> None:
    teacher = network(1).train()
    before = copy.deepcopy(teacher.state_dict())
    method.apply(network(0), task_of(), teacher=teacher, **RECIPE | options)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
