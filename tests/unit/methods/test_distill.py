"""The method distill, and Hinton's loss against its formula in plain numpy."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.methods import distill
from edgeproof.models.losses import hinton_loss
from edgeproof.models.training_task import compute_outputs
from tests.support.method_inputs import LABELS, LOGITS, RECIPE, hinton_by_hand, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def compute_loss(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> float:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(y)
    return float(hinton_loss(*tensors, temperature=temperature, hard_weight=hard_weight))


@given(LOGITS, LOGITS, LABELS, st.floats(0.5, 20), st.floats(0, 1))
def test_distillation_loss_equals_hintons_formula(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> None:
    expected = hinton_by_hand(student, teacher, y, temperature, hard_weight)
    assert compute_loss(student, teacher, y, temperature, hard_weight) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=15)
@given(LOGITS, LOGITS, LABELS, st.floats(1, 8), st.floats(0, 1))
def test_distillation_gradient_equals_finite_differences_of_the_formula(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> None:
    z = torch.from_numpy(student).requires_grad_()
    chosen = {"temperature": temperature, "hard_weight": hard_weight}
    hinton_loss(z, torch.from_numpy(teacher), torch.from_numpy(y), **chosen).backward()
    assert z.grad is not None
    step = 1e-5
    for place in [(0, 0), (2, 3), (4, 1)]:
        up, down = student.copy(), student.copy()
        up[place] += step
        down[place] -= step
        slope = (hinton_by_hand(up, teacher, y, **chosen) - hinton_by_hand(down, teacher, y, **chosen)) / (2 * step)
        assert float(z.grad[place]) == pytest.approx(slope, abs=1e-5)


@given(LOGITS, LOGITS, LABELS)
def test_soft_loss_matches_centred_logits_at_high_temperature(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray
) -> None:
    # Section 2.1 of the paper: T² · KL tends to half the mean squared difference of the zero-mean logits.
    difference = (student - student.mean(1, keepdims=True)) - (teacher - teacher.mean(1, keepdims=True))
    limit = float((difference**2).mean(1).mean()) / 2
    assert compute_loss(student, teacher, y, 1e4, 0.0) == pytest.approx(limit, rel=5e-3, abs=1e-4)


@given(LOGITS, LABELS, st.floats(0.5, 20))
def test_student_equal_to_its_teacher_has_only_the_hard_loss(
    student: np.ndarray, y: np.ndarray, temperature: float
) -> None:
    cross_entropy = hinton_by_hand(student, student, y, 1.0, 1.0)
    assert compute_loss(student, student, y, temperature, 0.0) == pytest.approx(0, abs=1e-9)
    assert compute_loss(student, student, y, temperature, 0.3) == pytest.approx(0.3 * cross_entropy, abs=1e-9)


def test_very_large_logits_give_a_finite_loss() -> None:
    student, teacher = np.array([[1e4, -1e4]]), np.array([[-1e4, 1e4]])
    assert math.isfinite(compute_loss(student, teacher, np.array([0]), 1.0, 0.5))


def build_linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def test_student_equal_to_its_teacher_on_all_views_does_not_change() -> None:
    # With the logits of another sample or view, the gradient would not vanish.
    teacher = build_linear(0)
    student = copy.deepcopy(teacher)
    options = RECIPE | {"weight_decay": 0, "epochs": 2, "temperature": 4.0, "hard_weight": 0.0}
    distill.apply(student, make_task(views=4), teacher=teacher, **options)
    for p, q in zip(student.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-4)


def test_distillation_moves_the_student_towards_an_unchanged_teacher() -> None:
    teacher, student, task = build_linear(0), build_linear(1), make_task(views=2)
    before = [p.clone() for p in teacher.parameters()]

    def distance() -> float:
        logits = [compute_outputs(m, (task.train.inputs[0],)).double().numpy() for m in (student, teacher)]
        return hinton_by_hand(logits[0], logits[1], task.train.targets.numpy(), 1.0, 0.0)

    distance_before = distance()
    options = RECIPE | {"weight_decay": 0, "epochs": 6, "temperature": 2.0, "hard_weight": 0.0}
    distill.apply(student, task, teacher=teacher, **options)
    assert distance() < distance_before / 4
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0, "hard_weight": 0.3},
        {"temperature": 4, "hard_weight": 1.1},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distill.Options.model_validate(RECIPE | wrong)
