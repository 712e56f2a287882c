"""The method train."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from torch import nn

from edgeproof.methods import train
from edgeproof.models.training_task import compute_outputs
from tests.support.method_inputs import RECIPE, hinton_by_hand, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def test_training_raises_the_likelihood_of_the_true_labels(module: nn.Module) -> None:
    task = make_task()

    def likelihood() -> float:
        logits = compute_outputs(module, (task.train.inputs[0],)).double().numpy()
        return -hinton_by_hand(logits, logits, task.train.targets.numpy(), 1.0, 1.0)

    before = likelihood()
    train.apply(module, task, **RECIPE | {"epochs": 8})
    assert likelihood() > before


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 4},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        train.Options.model_validate(RECIPE | wrong)
