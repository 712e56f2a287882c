"""Behaviour that several distillation methods share."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch

from edgeproof.methods import (
    distill_attention,
    distill_dkd,
    distill_features,
    distill_relational,
    train,
)
from tests.support.distillation_inputs import ATTENTION, DKD, FEATURES, LAYERS, RELATIONAL, build_network
from tests.support.method_inputs import RECIPE, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@pytest.mark.parametrize(
    ("method", "weightless"),
    [
        (distill_dkd, DKD | {"alpha": 0, "beta": 0}),
        (distill_relational, RELATIONAL | {"distance_weight": 0, "angle_weight": 0}),
    ],
)
def test_distillation_with_zero_weights_for_the_teacher_equals_training(method: ModuleType, weightless: Any) -> None:
    student, teacher = build_network(0), build_network(1)
    alone = train.apply(copy.deepcopy(student), make_task(), **RECIPE)
    distilled = method.apply(student, make_task(), teacher=teacher, **RECIPE | weightless)
    for p, q in zip(distilled.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "options"),
    [(distill_attention, ATTENTION), (distill_relational, RELATIONAL), (distill_features, FEATURES | LAYERS)],
)
def test_the_teacher_runs_in_evaluation_mode_and_is_not_trained(method: ModuleType, options: dict[str, Any]) -> None:
    teacher = build_network(1).train()
    before = copy.deepcopy(teacher.state_dict())
    method.apply(build_network(0), make_task(), teacher=teacher, **RECIPE | options)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
