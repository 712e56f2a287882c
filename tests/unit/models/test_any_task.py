"""Models of tasks that are no classification of images: several inputs, a regression, an autoencoder, augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.config.params import ModelParams, Params
from edgeproof.core.ports import Port
from edgeproof.methods import train
from edgeproof.models import build, model_files, task_loading, training
from edgeproof.models.training_task import Batch, TrainingTask, compute_outputs, draw_batches, make_teacher
from tests.support.array_tasks import prepare_task, write_task
from tests.support.method_inputs import RECIPE
from tests.support.training_tasks import make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

# Two inputs, of floats and of whole numbers. The class is the sum of both, modulo three.
TWO_INPUTS = """
INPUTS = (Port("position", (2,)), Port("turns", (1,), "int64"))
OUTPUTS = (Port("logits", (3,)),)
METRICS = ("accuracy",)
"""
# A regression with a loss of its own: the mean absolute error.
REGRESSION = """
INPUTS = (Port("position", (2,)),)
OUTPUTS = (Port("height", (1,)),)
METRICS = ("rmse",)
def loss(outputs, targets, inputs): return (outputs - targets).abs().mean()
"""
# Both networks are linear in all numbers of all inputs.
NETWORK = """
import torch
from torch import nn
from pydantic import BaseModel
KIND = "image_classifier"
class Options(BaseModel): pass
class Linear(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.linear = nn.Linear(features, outputs)
    def forward(self, *inputs):
        return self.linear(torch.cat([x.float() for x in inputs], 1))
def build(inputs, outputs): return Linear(sum(port.size for port in inputs), outputs[0].size)
"""


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (plugin_root / "networks" / "joint_linear.py").write_text(NETWORK)
    return tmp_path


def make_arrays(make_split: Callable[[np.random.Generator, int], list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of all splits. `make_split` returns the inputs and then the targets."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 64), ("validation", 16), ("test", 16)):
        *inputs, targets = make_split(rng, count)
        arrays |= {f"{split}_x{number}": x for number, x in enumerate(inputs)} | {f"{split}_y": targets}
    return arrays


def build_model(task: str, digits_study: Params, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model 'm' with the method train, and return it as it was stored, with its meta."""
    content = {
        "method": "train",
        "network": "joint_linear",
        "network_options": {},
        "options": RECIPE | options,
        "parent": None,
        "teachers": [],
        "seeds": [0],
        "threads": 1,
        "packages": {},
        "inputs": dict.fromkeys(("parent", "teacher", "teacher_2", "teacher_3"), "data"),
    }
    params = digits_study.model_copy(
        update={
            "task": digits_study.task.model_copy(update={"name": task}),
            "train": {"m": ModelParams.model_validate(content)},
        }
    )
    build.build("m", params)
    module, _, meta = model_files.load(Path("models/m"))
    return module, meta


# --- two inputs ----------------------------------------------------------------------------------------------------


def make_two_inputs(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    position = rng.standard_normal((count, 2)).astype(np.float32)
    turns = rng.integers(-2, 3, (count, 1))
    return [position, turns, (position[:, 0] + turns[:, 0]).clip(-1, 1).round().astype(np.int64) + 1]


def test_a_task_with_two_inputs_is_trained_stored_and_measured(project: Path, digits_study: Params) -> None:
    write_task(project / "plugins", "two_inputs", TWO_INPUTS)
    arrays = make_arrays(make_two_inputs)
    prepare_task("two_inputs", arrays, project)
    module, meta = build_model("two_inputs", digits_study, epochs=20, learning_rate=0.2)
    assert meta["network"]["inputs"] == [
        {"name": "position", "shape": [2], "dtype": "float32"},
        {"name": "turns", "shape": [1], "dtype": "int64"},
    ]
    weight, bias = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    joined = np.concatenate([arrays["validation_x0"], arrays["validation_x1"]], axis=1)
    by_hand = float(((joined @ weight.T + bias).argmax(1) == arrays["validation_y"]).mean())
    assert meta["validation_quality"] == by_hand
    assert by_hand > 0.8


def test_every_input_of_a_batch_has_the_same_samples_and_views() -> None:
    rows = torch.arange(12)
    first, second = rows.reshape(12, 1).float(), 100 * rows.reshape(12, 1, 1, 1).float()
    task = make_training_task((first, second), rows % 3, 3, views=2, view=lambda x, k: x + 1000 * k)
    batches = list(draw_batches(task, 4, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat([batch.samples for batch in batches]).tolist()) == list(range(12))
    assert len(torch.cat([batch.views for batch in batches]).unique()) == 2
    for batch in batches:
        torch.testing.assert_close(batch.inputs[0][:, 0], (batch.samples + 1000 * batch.views).float())
        torch.testing.assert_close(batch.inputs[1].flatten(), (100 * batch.samples + 1000 * batch.views).float())
        assert torch.equal(batch.targets, batch.samples % 3)
    assert torch.equal(first[:, 0], rows.float())


# --- regression ----------------------------------------------------------------------------------------------------


def make_regression(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    position = rng.standard_normal((count, 2)).astype(np.float32)
    height = 0.25 * position[:, :1] - 0.5 * position[:, 1:] + 0.3
    return [position, height.astype(np.float32)]


def test_a_regression_minimizes_its_own_loss_and_is_measured_by_rmse(project: Path, digits_study: Params) -> None:
    write_task(project / "plugins", "regression", REGRESSION)
    arrays = make_arrays(make_regression)
    prepare_task("regression", arrays, project)
    module, meta = build_model("regression", digits_study, epochs=30, weight_decay=0.0)
    weight, bias = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    errors = arrays["validation_x0"] @ weight.T + bias - arrays["validation_y"]
    expected = float(np.sqrt(np.mean(errors.astype(np.float64) ** 2)))
    assert meta["validation_quality"] == pytest.approx(expected, abs=1e-7)  # single precision of values near 1
    np.testing.assert_allclose(weight, [[0.25, -0.5]], atol=0.02)
    np.testing.assert_allclose(bias, [0.3], atol=0.02)


def test_float_targets_reach_the_loss_unchanged(project: Path) -> None:
    write_task(project / "plugins", "regression", REGRESSION)
    arrays = make_arrays(make_regression)
    prepare_task("regression", arrays, project)
    task = task_loading.load_training_task("regression", 0, 1)
    assert not task.is_classification
    assert task.metric.label == "RMSE"
    (batch,) = draw_batches(task, 64, torch.Generator().manual_seed(0))
    assert batch.targets.dtype == torch.float32
    np.testing.assert_array_equal(batch.targets.numpy(), arrays["train_y"][batch.samples.numpy()])
    outputs = torch.randn(64, 1, generator=torch.Generator().manual_seed(1))
    by_hand = np.abs(outputs.numpy() - batch.targets.numpy()).mean()
    assert float(task.loss(outputs, batch)) == pytest.approx(float(by_hand), rel=1e-6)


# --- augmentation --------------------------------------------------------------------------------------------------


def make_augmented_task() -> TrainingTask:
    """Return a task whose augmentation adds noise to the inputs and reverses the classes of a random half."""

    def augment(
        inputs: tuple[torch.Tensor, ...], targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        noise = torch.randn(inputs[0].shape, generator=generator)
        flipped = torch.rand(len(targets), generator=generator) < 0.5
        return (inputs[0] + noise,), torch.where(flipped, 2 - targets, targets)

    x = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    return make_training_task(x, torch.arange(24) % 3, 3, augment=augment)


def draw(task: TrainingTask, seed: int) -> list[Batch]:
    return list(draw_batches(task, 8, torch.Generator().manual_seed(seed)))


def test_augmentation_changes_inputs_and_targets_of_training_reproducibly() -> None:
    task = make_augmented_task()
    first, again, other = draw(task, 0), draw(task, 0), draw(task, 1)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.inputs[0], two.inputs[0])
        assert torch.equal(one.targets, two.targets)
    assert not torch.equal(first[0].inputs[0], other[0].inputs[0])
    for batch in first:
        assert not torch.equal(batch.inputs[0], task.train.inputs[0][batch.samples])
        plain = task.train.targets[batch.samples]
        assert ((batch.targets == plain) | (batch.targets == 2 - plain)).all()
    assert any(not torch.equal(batch.targets, task.train.targets[batch.samples]) for batch in first)


def test_an_epoch_after_the_first_draws_other_augmentations() -> None:
    task, generator = make_augmented_task(), torch.Generator().manual_seed(0)
    epochs = [next(iter(draw_batches(task, 24, generator))) for _ in range(2)]
    noise = [(batch.inputs[0] - task.train.inputs[0][batch.samples])[batch.samples.argsort()] for batch in epochs]
    assert (noise[0] - noise[1]).abs().min() > 0


def test_validation_samples_are_not_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def measure(inputs: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...], targets: np.ndarray) -> float:
        seen.append(inputs[0])
        return 0.5

    task = dataclasses.replace(make_augmented_task(), measure=measure)
    torch.manual_seed(0)
    train.apply(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), task, **RECIPE | {"epochs": 2})
    assert len(seen) == 2
    for inputs in seen:
        np.testing.assert_array_equal(inputs, task.validation.inputs[0].numpy())


def test_training_with_augmentation_gives_identical_weights_twice() -> None:
    weights = []
    for _ in range(2):
        training.make_deterministic(0, 1)
        module = train.apply(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), make_augmented_task(), **RECIPE)
        weights.append(module[1].weight.detach().numpy().tobytes())
    assert weights[0] == weights[1]


def test_a_teacher_sees_the_augmented_samples_and_otherwise_its_stored_outputs() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    augmented = make_augmented_task()
    plain = dataclasses.replace(augmented, augment=None)
    for task in (augmented, plain):
        teach = make_teacher(teacher, task)
        for batch in draw(task, 0):
            torch.testing.assert_close(teach(batch), compute_outputs(teacher, batch.inputs))


def test_the_augmentation_of_a_task_file_is_applied(project: Path) -> None:
    code = "def augment(x, targets, generator): return x * 2, targets + 1\n"
    write_task(project / "plugins", "augmented", REGRESSION + code)
    arrays = make_arrays(make_regression)
    prepare_task("augmented", arrays, project)
    (batch,) = draw_batches(task_loading.load_training_task("augmented", 0, 1), 64, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(batch.inputs[0].numpy(), 2 * arrays["train_x0"][batch.samples.numpy()])
    np.testing.assert_array_equal(batch.targets.numpy(), arrays["train_y"][batch.samples.numpy()] + 1)


# --- several outputs -----------------------------------------------------------------------------------------------


def test_a_network_with_several_outputs_gives_a_tuple_to_the_loss_and_the_metric() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores, self.size = nn.Linear(4, 3), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.scores(x), self.size(x)

    def loss(outputs: Any, batch: Batch) -> torch.Tensor:
        scores, size = outputs
        return nn.functional.cross_entropy(scores, batch.targets) + size.square().mean()

    def measure(inputs: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...], targets: np.ndarray) -> float:
        scores, size = outputs
        assert (scores.shape, size.shape) == ((len(targets), 3), (len(targets), 1))
        return float(np.abs(size).mean())

    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    outputs = (Port("scores", (3,)), Port("size", (1,)))
    torch.manual_seed(0)
    task = make_training_task(
        x, torch.arange(24) % 3, 3, outputs=outputs, loss=loss, measure=measure, is_classification=False
    )
    module = Both()
    before = compute_outputs(module, task.validation.inputs)[1].abs().mean()
    train.apply(module, task, **RECIPE | {"epochs": 10, "weight_decay": 0.0})
    after = compute_outputs(module, task.validation.inputs)
    assert isinstance(after, tuple)
    assert after[1].abs().mean() < before
