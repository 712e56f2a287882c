"""Mixup against its definition: every mixed sample and label is the same weighted average of two."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.methods import distill, distill_ensemble, train
from edgeproof.models.losses import hinton_loss
from edgeproof.models.mixup import add_mixup
from edgeproof.models.training_task import Split, TrainingTask, draw_batches
from tests.support.method_inputs import RECIPE, build_module, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def make_task_of_codes(count: int) -> TrainingTask:
    """Build a task whose sample number n is the n-th unit vector, so a mixture shows its samples and weights."""
    task = make_task()
    codes = torch.eye(count)
    return dataclasses.replace(task, train=Split((codes,), torch.arange(count) % 4))


def test_inputs_and_labels_have_the_weights_of_the_same_two_samples() -> None:
    task = add_mixup(make_task_of_codes(32), 1.0)
    (batch,) = draw_batches(task, 32, torch.Generator().manual_seed(0))
    (codes,) = batch.inputs
    assert torch.allclose(codes.sum(1), torch.ones(32))
    assert int((codes > 0).sum(1).max()) == 2
    of_samples = functional.one_hot(torch.arange(32) % 4, 4).float()
    assert torch.allclose(batch.targets, codes @ of_samples)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_weights_follow_the_beta_distribution(alpha: float) -> None:
    task = add_mixup(make_task_of_codes(2000), alpha)
    (batch,) = draw_batches(task, 2000, torch.Generator().manual_seed(1))
    weights = batch.inputs[0][torch.arange(2000), batch.samples].numpy()
    assert stats.kstest(weights[weights < 1], stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_the_same_seed_gives_the_same_batches() -> None:
    task = add_mixup(make_task(), 1.0)
    first, second, other = (
        torch.cat([batch.inputs[0] for batch in draw_batches(task, 8, torch.Generator().manual_seed(seed))])
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_it_comes_after_the_augmentation_of_the_task() -> None:
    task = dataclasses.replace(make_task_of_codes(32), augment=lambda inputs, y, generator: ((2 * inputs[0],), y))
    (batch,) = draw_batches(add_mixup(task, 1.0), 32, torch.Generator().manual_seed(0))
    assert torch.allclose(batch.inputs[0].sum(1), torch.full((32,), 2.0))


def test_without_mixup_the_task_is_the_same() -> None:
    task = make_task()
    assert add_mixup(task, 0.0) is task


def test_labels_that_are_probabilities_already_are_mixed_too() -> None:
    soft = torch.softmax(torch.arange(32.0).reshape(-1, 1) * torch.tensor([0.0, 0.1, 0.2, 0.3]), dim=1)
    task = make_task_of_codes(32)
    task = add_mixup(dataclasses.replace(task, train=Split(task.train.inputs, soft)), 1.0)
    (batch,) = draw_batches(task, 32, torch.Generator().manual_seed(0))
    assert torch.allclose(batch.targets, batch.inputs[0] @ soft)


@pytest.mark.parametrize("alpha", [-1.0, float("inf"), float("nan")])
def test_a_weight_that_no_distribution_has_is_refused(alpha: float) -> None:
    with pytest.raises(ValidationError, match="mixup"):
        train.apply(build_module(), make_task(), **RECIPE, mixup=alpha)


def test_whole_numbers_and_other_tasks_are_refused() -> None:
    task = make_task()
    tokens = dataclasses.replace(task, train=Split((torch.zeros(32, 5, dtype=torch.int64),), task.train.targets))
    with pytest.raises(ConfigError, match="whole numbers"):
        add_mixup(tokens, 1.0)
    with pytest.raises(ConfigError, match="no classification"):
        add_mixup(dataclasses.replace(task, is_classification=False), 1.0)


def test_the_loss_of_mixed_labels_is_the_mixture_of_the_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = torch.arange(6) % 4, (torch.arange(6) + 1) % 4
    mixed = 0.3 * functional.one_hot(first, 4).double() + 0.7 * functional.one_hot(second, 4).double()
    losses = [hinton_loss(student, teacher, y, temperature=2.0, hard_weight=0.6) for y in (mixed, first, second)]
    assert float(losses[0]) == pytest.approx(float(0.3 * losses[1] + 0.7 * losses[2]))


def test_every_method_with_the_option_trains_with_it() -> None:
    task, options = make_task(), {**RECIPE, "epochs": 2}
    soft = {"temperature": 2.0, "hard_weight": 0.5}
    for apply in (
        lambda **extra: train.apply(build_module(), task, **options, **extra),
        lambda **extra: distill.apply(build_module(), task, teacher=build_module(), **options, **soft, **extra),
        lambda **extra: distill_ensemble.apply(
            build_module(), task, teachers=[build_module(), build_module()], **options, **soft, **extra
        ),
    ):
        plain, mixed = (dict(apply(mixup=alpha).named_parameters()) for alpha in (0.0, 1.0))
        assert all(bool(torch.isfinite(tensor).all()) for tensor in mixed.values())
        assert any(not np.array_equal(plain[name].detach(), mixed[name].detach()) for name in plain)
