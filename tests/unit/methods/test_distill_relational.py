"""The method distill_relational against the formulas of its paper in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeproof.methods import (
    distill_relational,
)
from tests.support.distillation_inputs import (
    BATCH,
    RELATIONAL,
    build_network,
    capture_loss,
    compute_layer_output,
    make_batch,
    predict,
)
from tests.support.method_inputs import RECIPE, SEEDS, hinton_by_hand, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

features = st.builds(lambda rng, width: rng.standard_normal((5, width)), SEEDS, st.integers(2, 6))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def distances_by_hand(student: np.ndarray, teacher: np.ndarray) -> float:
    pairs = [(i, j) for i in range(len(student)) for j in range(i)]
    d = [np.array([np.linalg.norm(f[i] - f[j]) for i, j in pairs]) for f in (student, teacher)]
    return float(np.mean([huber(x) for x in d[0] / d[0].mean() - d[1] / d[1].mean()]))


def angles_by_hand(student: np.ndarray, teacher: np.ndarray) -> float:
    def cosine(f: np.ndarray, i: int, j: int, k: int) -> float:
        a, b = f[i] - f[j], f[k] - f[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    count, total = len(student), 0.0
    for i in range(count):
        for j in range(count):
            for k in range(count):
                if len({i, j, k}) == 3:
                    total += huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
    return total / count**3


def compute_relations(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher)
    return [float(distill_relational.distance_loss(*tensors)), float(distill_relational.angle_loss(*tensors))]


@given(features, features)
def test_relational_losses_equal_the_formulas_of_the_paper_for_any_width(
    student: np.ndarray, teacher: np.ndarray
) -> None:
    expected = [distances_by_hand(student, teacher), angles_by_hand(student, teacher)]
    assert compute_relations(student, teacher) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(features, features, st.floats(0.01, 100), SEEDS)
def test_relations_ignore_rotation_translation_and_scale(
    student: np.ndarray, teacher: np.ndarray, scale: float, rng: np.random.Generator
) -> None:
    width = student.shape[1]
    rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
    changed = scale * (student @ rotation + rng.standard_normal(width))
    assert compute_relations(changed, teacher) == pytest.approx(compute_relations(student, teacher), rel=1e-6, abs=1e-9)
    assert compute_relations(changed, student) == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("samples", [torch.zeros(4, 3), torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])])
def test_equal_features_have_finite_relations_and_gradients(samples: torch.Tensor) -> None:
    student = samples.clone().requires_grad_()
    teacher = torch.randn(len(samples), 5, generator=torch.Generator().manual_seed(0))
    loss = distill_relational.distance_loss(student, teacher) + distill_relational.angle_loss(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e4


def test_training_loss_adds_both_relations_to_the_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, batch = build_network(0, (4, 6)), build_network(1), make_batch(make_task(views=2), *BATCH)
    value, _ = capture_loss(distill_relational, student, teacher, batch, monkeypatch, RELATIONAL)
    ours, theirs = (compute_layer_output(module, "pool", batch.inputs[0])[:, :, 0, 0] for module in (student, teacher))
    answers = predict(student, batch.inputs[0])
    hard = hinton_by_hand(answers, answers, batch.targets.numpy(), 1.0, 1.0)
    expected = hard + 3 * distances_by_hand(ours, theirs) + 5 * angles_by_hand(ours, theirs)
    assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        RELATIONAL | {"distance_weight": -1},
        RELATIONAL | {"angle_weight": -1},
        RELATIONAL | {"batch_size": 2},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distill_relational.Options.model_validate(RECIPE | wrong)
