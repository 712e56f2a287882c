"""The method distill_ensemble: the average prediction of several teachers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.methods import (
    distill,
    distill_ensemble,
)
from edgeproof.models import distillation
from tests.support.distillation_inputs import build_network
from tests.support.method_inputs import RECIPE, SEEDS, make_task, softmax

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@given(seed=SEEDS, temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]), teachers=st.integers(1, 4))
def test_average_prediction_is_the_mean_of_the_softened_predictions(
    seed: int, temperature: float, teachers: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = [rng.normal(0, 3, (6, 5)) for _ in range(teachers)]
    average = distillation.average_predictions([torch.from_numpy(z) for z in logits], temperature)
    expected = np.mean([softmax(z / temperature) for z in logits], axis=0)
    np.testing.assert_allclose(softmax(average.numpy() / temperature), expected, rtol=1e-6)


def test_average_prediction_of_very_small_probabilities_is_finite() -> None:
    average = distillation.average_predictions([torch.tensor([[0.0, -4000.0]]), torch.tensor([[0.0, -3000.0]])], 1.0)
    assert average.isfinite().all()


def test_two_equal_teachers_give_the_same_student_as_one() -> None:
    teacher, options = build_network(1), {"temperature": 3.0, "hard_weight": 0.3}
    alone = distill.apply(build_network(2), make_task(views=2), teacher=teacher, **RECIPE | options)
    twice = distill_ensemble.apply(
        build_network(2), make_task(views=2), teachers=[teacher, teacher], **RECIPE | options
    )
    for one, other in zip(alone.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
