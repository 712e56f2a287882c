"""The method distill_attention against the formula of its paper in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    distill_attention,
)
from tests.support.distillation_inputs import (
    ATTENTION,
    BATCH,
    build_network,
    capture_loss,
    compute_layer_output,
    make_batch,
    predict,
)
from tests.support.method_inputs import RECIPE, SEEDS, hinton_by_hand, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

maps = st.builds(lambda rng, channels: rng.standard_normal((3, channels, 4, 4)), SEEDS, st.integers(1, 6))


def attention_by_hand(student: np.ndarray, teacher: np.ndarray) -> float:
    """Compute the formula of the paper position by position and sample by sample."""
    distances = []
    for a, b in zip(student, teacher, strict=True):
        qa, qb = (np.array([(x[:, i, j] ** 2).sum() for i in range(4) for j in range(4)]) for x in (a, b))
        distances.append(((qa / np.linalg.norm(qa) - qb / np.linalg.norm(qb)) ** 2).mean())
    return float(np.mean(distances))


def compute_attention_loss(student: np.ndarray, teacher: np.ndarray) -> float:
    return float(distill_attention.attention_loss(torch.from_numpy(student), torch.from_numpy(teacher)))


@given(maps, maps)
def test_attention_loss_equals_the_formula_of_the_paper_for_any_width(student: np.ndarray, teacher: np.ndarray) -> None:
    assert compute_attention_loss(student, teacher) == pytest.approx(attention_by_hand(student, teacher), rel=1e-9)


@given(maps, maps, st.floats(0.01, 100), SEEDS)
def test_attention_ignores_scale_sign_and_order_of_channels(
    student: np.ndarray, teacher: np.ndarray, scale: float, rng: np.random.Generator
) -> None:
    changed = -scale * student[:, rng.permutation(student.shape[1])]
    assert compute_attention_loss(changed, teacher) == pytest.approx(compute_attention_loss(student, teacher), rel=1e-9)
    assert compute_attention_loss(changed, student) == pytest.approx(0, abs=1e-12)


@given(maps)
def test_a_larger_map_is_average_pooled_to_the_smaller_size(student: np.ndarray) -> None:
    larger = student.repeat(2, axis=2).repeat(2, axis=3)
    assert compute_attention_loss(larger, student) == pytest.approx(0, abs=1e-12)


def test_a_layer_of_zeros_has_a_finite_loss_and_gradient() -> None:
    silent = torch.zeros(2, 3, 4, 4, requires_grad=True)
    distill_attention.attention_loss(silent, torch.rand(2, 5, 4, 4)).backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_training_loss_sums_the_attention_terms_of_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, batch = (
        build_network(0, (4, 6), 2),
        build_network(1, (8, 16), 2),
        make_batch(make_task(views=2), *BATCH),
    )
    options = ATTENTION | {"student_layers": ["stem"], "teacher_layers": ["stem"]}
    value, _ = capture_loss(distill_attention, student, teacher, batch, monkeypatch, options)
    logits = predict(student, batch.inputs[0])
    hard = hinton_by_hand(logits, logits, batch.targets.numpy(), 1.0, 1.0)
    stem = attention_by_hand(
        compute_layer_output(student, "stem", batch.inputs[0]), compute_layer_output(teacher, "stem", batch.inputs[0])
    )
    assert value == pytest.approx(hard + 50 * stem, rel=1e-4)
    twice = ATTENTION | {"student_layers": ["stem", "stem"], "teacher_layers": ["stem", "stem"]}
    value, _ = capture_loss(distill_attention, student, teacher, batch, monkeypatch, twice)
    assert value == pytest.approx(hard + 100 * stem, rel=1e-4)


def test_an_output_with_three_dimensions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(N, C\) or \(N, C, H, W\)"):
        distill_attention.attention_loss(torch.rand(2, 3, 4), torch.rand(2, 3, 4))


@pytest.mark.parametrize(
    "wrong",
    [
        ATTENTION | {"beta": 0},
        ATTENTION | {"student_layers": [], "teacher_layers": []},
        ATTENTION | {"student_layers": ["stem"]},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distill_attention.Options.model_validate(RECIPE | wrong)
