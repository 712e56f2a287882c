"""The method distill_dkd against the formulas of its paper in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeproof.methods import (
    distill_dkd,
)
from tests.support.distillation_inputs import BATCH, DKD, build_network, capture_loss, make_batch, predict
from tests.support.method_inputs import LABELS, LOGITS, RECIPE, hinton_by_hand, make_task, softmax

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def decouple_by_hand(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return TCKD, NCKD and the teacher's probability of the true class, sample by sample as in the paper."""
    target, others, true_class = [], [], []
    for p, q, label in zip(softmax(teacher), softmax(student), y, strict=True):
        pt, qt = p[label], q[label]
        rest_p, rest_q = np.delete(p, label), np.delete(q, label)
        target.append(pt * np.log(pt / qt) + rest_p.sum() * np.log(rest_p.sum() / rest_q.sum()))
        rest_p, rest_q = rest_p / rest_p.sum(), rest_q / rest_q.sum()
        others.append((rest_p * np.log(rest_p / rest_q)).sum())
        true_class.append(pt)
    return np.array(target), np.array(others), np.array(true_class)


def compute_parts(student: np.ndarray, teacher: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(y)
    return [part.numpy() for part in distill_dkd.compute_decoupled_losses(*tensors)]


@given(LOGITS, LOGITS, LABELS)
def test_both_parts_equal_the_formulas_of_the_paper(student: np.ndarray, teacher: np.ndarray, y: np.ndarray) -> None:
    target, others = compute_parts(student, teacher, y)
    expected = decouple_by_hand(student, teacher, y)
    np.testing.assert_allclose(target, expected[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(others, expected[1], rtol=1e-6, atol=1e-8)


@given(LOGITS, LOGITS, LABELS)
def test_weighted_sum_of_the_parts_equals_hintons_divergence(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray
) -> None:
    target, others = compute_parts(student, teacher, y)
    divergence = (target + (1 - softmax(teacher)[np.arange(len(y)), y]) * others).mean()
    assert divergence == pytest.approx(hinton_by_hand(student, teacher, y, 1.0, 0.0), rel=1e-6, abs=1e-8)


@given(LOGITS, LOGITS, LABELS, st.floats(-5, 5))
def test_nckd_does_not_depend_on_the_true_class_logit_of_the_student(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, shift: float
) -> None:
    surer = student.copy()
    surer[np.arange(len(y)), y] += shift
    np.testing.assert_allclose(
        compute_parts(surer, teacher, y)[1], compute_parts(student, teacher, y)[1], rtol=1e-6, atol=1e-8
    )


def test_decoupled_losses_of_extreme_logits_are_finite_with_finite_gradients() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    target, others = distill_dkd.compute_decoupled_losses(student, torch.tensor([[-1e4, 1e4, 0.0]]), torch.tensor([0]))
    (target + others).sum().backward()
    assert target.isfinite().all()
    assert others.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_training_loss_equals_the_formula_with_the_view_of_each_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher, batch = build_network(0), build_network(1, (4, 6)), make_batch(make_task(views=2), *BATCH)
    value, _ = capture_loss(distill_dkd, student, teacher, batch, monkeypatch, DKD)
    ours, theirs, y = predict(student, batch.inputs[0]), predict(teacher, batch.inputs[0]), batch.targets.numpy()
    target, others, _ = decouple_by_hand(ours / 3, theirs / 3, y)
    expected = hinton_by_hand(ours, ours, y, 1.0, 1.0) + 9 * (0.5 * target.mean() + 4 * others.mean())
    assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        DKD | {"temperature": 0},
        DKD | {"alpha": -1},
        DKD | {"beta": -0.1},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distill_dkd.Options.model_validate(RECIPE | wrong)
