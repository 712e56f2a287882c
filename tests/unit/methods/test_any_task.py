"""Methods on tasks that are no classification: an autoencoder, and two inputs."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    distill,
    distill_attention,
    distill_dkd,
    distill_ensemble,
    distill_features,
    distill_relational,
    prune_channels,
    prune_channels_taylor,
    quantize_aware,
    quantize_mixed,
    round_weights,
    train,
)
from edgeproof.models import training
from edgeproof.models.training_task import TrainingTask, compute_outputs, measure_quality
from tests.support.channel_pruning_inputs import TAYLOR
from tests.support.distillation_inputs import ATTENTION, DKD, FEATURES, RELATIONAL, capture_loss
from tests.support.method_inputs import RECIPE
from tests.support.network_kinds import draw_inputs, make_autoencoder_ports, make_reconstruction
from tests.support.training_tasks import make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

FEATURE_COUNT = 12
SOFT = {"temperature": 4.0, "hard_weight": 0.3}
INTEGERS = SOFT | {"runtime": "onnx"}


def make_task() -> TrainingTask:
    """Return a task whose loss is the mean squared difference of outputs and inputs, which lie in four dimensions."""
    interface = make_autoencoder_ports(FEATURE_COUNT)
    (codes,) = draw_inputs(make_autoencoder_ports(4)[0], 64)
    basis = torch.randn(4, FEATURE_COUNT, generator=torch.Generator().manual_seed(1))
    return make_reconstruction(interface, (codes @ basis,))


def build_autoencoder(seed: int, width: int = 16, code: int = 6) -> nn.Module:
    training.make_deterministic(seed, 1)
    return nn.Sequential(
        nn.Linear(FEATURE_COUNT, width),
        nn.ReLU(),
        nn.Linear(width, code),
        nn.Linear(code, width),
        nn.ReLU(),
        nn.Linear(width, FEATURE_COUNT),
    )


def measure_error(module: nn.Module, task: TrainingTask) -> float:
    """Compute the mean squared error of the reconstruction in numpy."""
    outputs = compute_outputs(module, task.validation.inputs).double().numpy()
    return float(((outputs - task.validation.inputs[0].double().numpy()) ** 2).mean())


def test_an_autoencoder_learns_to_reproduce_its_inputs() -> None:
    task, module = make_task(), build_autoencoder(0)
    before = measure_error(module, task)
    train.apply(module, task, **RECIPE | {"epochs": 30})
    assert measure_error(module, task) < before / 4
    assert measure_quality(module, task, task.validation) == pytest.approx(measure_error(module, task), rel=1e-5)


@pytest.mark.parametrize(("method", "options"), [(prune_channels, {"round_to": 1}), (prune_channels_taylor, TAYLOR)])
def test_a_pruned_autoencoder_keeps_its_outputs_and_is_tuned_by_its_own_loss(
    method: ModuleType, options: dict[str, Any]
) -> None:
    task = make_task()
    module = train.apply(build_autoencoder(0), task, **RECIPE | {"epochs": 30})
    options = RECIPE | options | {"ratio": 0.25}
    still = method.apply(copy.deepcopy(module), task, **options | {"epochs": 0})
    tuned = method.apply(copy.deepcopy(module), task, **options | {"epochs": 10})
    widths = [layer.out_features for layer in tuned if isinstance(layer, nn.Linear)]
    assert widths == [12, 4, 12, FEATURE_COUNT]
    assert measure_error(tuned, task) < measure_error(still, task)


def test_distilled_features_of_an_autoencoder_add_to_its_own_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    task, student, teacher = make_task(), build_autoencoder(0), build_autoencoder(1, width=24)
    batch = next(iter(training.draw_batches(task, 8, torch.Generator().manual_seed(0))))
    options = FEATURES | {"student_layer": "2", "teacher_layer": "2"}
    value, trained = capture_loss(distill_features, student, teacher, batch, monkeypatch, options, task)
    x = batch.inputs[0].double().numpy()
    with torch.no_grad():
        codes = [module[:3](batch.inputs[0]).double().numpy() for module in (student, teacher)]
        outputs = student(batch.inputs[0]).double().numpy()
    assert isinstance(trained.adapter, nn.Identity)  # both codes have six features
    by_hand = np.mean((outputs - x) ** 2) + FEATURES["hint_weight"] * np.mean((codes[0] - codes[1]) ** 2)
    assert value == pytest.approx(float(by_hand), rel=1e-5)


def test_distilling_features_of_another_width_moves_an_autoencoder_towards_its_teacher() -> None:
    task = make_task()
    teacher = train.apply(build_autoencoder(1, width=24, code=8), task, **RECIPE | {"epochs": 30})
    student = build_autoencoder(0)
    before = measure_error(student, task)
    options = RECIPE | FEATURES | {"student_layer": "2", "teacher_layer": "2", "epochs": 10, "learning_rate": 0.01}
    distill_features.apply(student, task, teacher=teacher, **options)
    assert measure_error(student, task) < before


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("distill", distill, SOFT),
        ("distill_dkd", distill_dkd, DKD),
        ("distill_ensemble", distill_ensemble, SOFT),
        ("quantize_aware with a teacher", quantize_aware, INTEGERS),
        ("prune_channels with a teacher", prune_channels, {"ratio": 0.5, "round_to": 2}),
        ("round_weights with a teacher", round_weights, {"bits": 4}),
    ],
)
def test_a_method_that_compares_class_scores_refuses_other_tasks(
    name: str, method: ModuleType, options: dict[str, Any]
) -> None:
    student, teacher = build_autoencoder(0), build_autoencoder(1)
    before = copy.deepcopy(student.state_dict())
    takes_several = "teachers" in inspect.signature(method.apply).parameters
    teachers = {"teachers": [teacher, teacher]} if takes_several else {"teacher": teacher}
    message = f"^{name} compares class scores, and task 'random' is no classification: its metric is squared error"
    with pytest.raises(ConfigError, match=message):
        method.apply(student, make_task(), **teachers, **RECIPE | options)
    assert all(torch.equal(before[key], tensor) for key, tensor in student.state_dict().items())


@pytest.mark.parametrize("method", [distill, distill_ensemble])
def test_a_task_with_a_distillation_loss_of_its_own_can_be_distilled(method: ModuleType) -> None:
    task = dataclasses.replace(make_task(), distillation_loss=functional.mse_loss)
    teacher = train.apply(build_autoencoder(1, width=24, code=8), task, **RECIPE | {"epochs": 30})
    student = build_autoencoder(0)

    def distance() -> float:
        ours, theirs = (compute_outputs(module, task.train.inputs) for module in (student, teacher))
        return float(functional.mse_loss(ours, theirs))

    before = distance()
    teachers = {"teacher": teacher} if method is distill else {"teachers": [teacher, teacher]}
    method.apply(student, task, **teachers, **RECIPE | SOFT | {"hard_weight": 0.0, "epochs": 20})
    assert distance() < before / 2


def test_an_autoencoder_is_trained_with_fake_quantization_without_a_teacher() -> None:
    task = make_task()
    module = train.apply(build_autoencoder(0), task, **RECIPE | {"epochs": 30})
    prepared = quantize_aware.apply(module, task, **RECIPE | INTEGERS | {"learning_rate": 1e-3})
    assert measure_error(prepared, task) < 2 * measure_error(module, task) + 0.05


def test_bits_of_an_autoencoder_are_chosen_by_its_own_loss() -> None:
    task, module = make_task(), build_autoencoder(0)
    sensitivities = quantize_mixed.measure_sensitivities(module, task, 64, [2, 8])
    rounded = copy.deepcopy(module)
    with torch.no_grad():
        rounded[0].weight.copy_(quantize_mixed.round_weight(rounded[0].weight, 2))
    assert sensitivities[0, 0] == pytest.approx(measure_error(rounded, task) - measure_error(module, task), abs=1e-5)


# --- two inputs ----------------------------------------------------------------------------------------------------


class TwoBranches(nn.Module):
    """Classifies an image and a vector together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.vector = nn.Sequential(nn.Linear(5, width), nn.ReLU())
        self.classifier = nn.Linear(2 * width, 4)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(torch.cat([self.image(image), self.vector(vector)], 1))
        return logits


def make_two_inputs() -> TrainingTask:
    generator = torch.Generator().manual_seed(0)
    image, vector = torch.randn(32, 1, 6, 6, generator=generator), torch.randn(32, 5, generator=generator)
    return make_training_task((image, vector), torch.arange(32) % 4, 4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (train, {}),
        (prune_channels, {"ratio": 0.5, "round_to": 1}),
        (prune_channels_taylor, TAYLOR),
        (quantize_mixed, {"bits": [2, 8], "mean_bits": 4.0, "samples": 16}),
        (distill, SOFT),
        (distill_dkd, DKD),
        (distill_features, FEATURES | {"student_layer": "image", "teacher_layer": "image"}),
        (distill_attention, ATTENTION | {"student_layers": ["image.0"], "teacher_layers": ["image.0"]}),
        (distill_relational, RELATIONAL | {"student_layer": "vector", "teacher_layer": "vector"}),
        (quantize_aware, INTEGERS),
    ],
)
def test_a_method_trains_a_network_with_two_inputs(method: ModuleType, options: dict[str, Any]) -> None:
    training.make_deterministic(0, 1)
    task, module, teacher = make_two_inputs(), TwoBranches(8), TwoBranches(12)
    before = copy.deepcopy(module)
    extra = {"teacher": teacher} if method.__name__.rpartition(".")[2].startswith("distill") else {}
    result = method.apply(module, task, **extra, **RECIPE | options)
    logits = compute_outputs(result, task.validation.inputs)
    assert logits.shape == (32, 4)
    assert not torch.allclose(logits, compute_outputs(before, task.validation.inputs))
