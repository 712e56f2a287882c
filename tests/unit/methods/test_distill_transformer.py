"""The method distill_transformer: its loss, its adapter, and the layers that it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    distill_transformer,
)
from edgeproof.models import training
from edgeproof.models.training_task import Batch
from edgeproof.networks import bert, transformer
from tests.support.distillation_inputs import capture_loss, make_batch
from tests.support.method_inputs import RECIPE, SHAPE, hinton_by_hand, make_task
from tests.support.network_kinds import make_random_task
from tests.support.tiny_networks import build_tiny_module
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

TRANSFORMER = {
    "temperature": 3.0,
    "hard_weight": 0.3,
    "attention_weight": 7.0,
    "hidden_weight": 2.0,
    "student_attention": ["blocks.0.attention.probabilities"],
    "teacher_attention": ["blocks.1.attention.probabilities"],
    "student_hidden": ["blocks.0"],
    "teacher_hidden": ["blocks.1"],
    "embeddings": [],
}


def build_transformer(seed: int, *, width: int = 8, depth: int = 2, heads: int = 2) -> nn.Module:
    training.make_deterministic(seed, 1)
    return transformer.build(
        *make_ports(SHAPE, 4), patch=(2, 2), width=width, depth=depth, heads=heads, expansion=2
    ).eval()


@torch.no_grad()
def record_states(module: nn.Module, block: int, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return attention (N, heads, T, T) and hidden states (N, T, D) of a block."""
    recorded: dict[str, np.ndarray] = {}
    layers = dict(module.named_modules())
    handles = [
        layers[name].register_forward_hook(lambda layer, inputs, out, name=name: recorded.update({name: out.numpy()}))
        for name in (f"blocks.{block}.attention.probabilities", f"blocks.{block}")
    ]
    module(x)
    for handle in handles:
        handle.remove()
    return recorded[f"blocks.{block}.attention.probabilities"], recorded[f"blocks.{block}"]


def test_training_loss_equals_the_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = build_transformer(1), build_transformer(2)
    batch = make_batch(make_task(views=2), [0, 3, 5], [0, 0, 0])
    value, _ = capture_loss(distill_transformer, student, teacher, batch, monkeypatch, TRANSFORMER)
    ours, theirs = record_states(student, 0, batch.inputs[0]), record_states(teacher, 1, batch.inputs[0])
    with torch.no_grad():
        logits = [module(batch.inputs[0]).double().numpy() for module in (student, teacher)]
    expected = hinton_by_hand(*logits, batch.targets.numpy(), 3.0, 0.3)
    expected += 7.0 * ((ours[0] - theirs[0]) ** 2).mean() + 2.0 * ((ours[1] - theirs[1]) ** 2).mean()
    assert value == pytest.approx(expected, rel=1e-4)


def test_different_numbers_of_heads_are_compared_by_their_mean() -> None:
    rng = np.random.default_rng(0)
    two, four = (rng.dirichlet(np.ones(5), (3, heads, 5)) for heads in (2, 4))
    value = float(distill_transformer.attention_loss(torch.from_numpy(two), torch.from_numpy(four)))
    assert value == pytest.approx(((two.mean(1) - four.mean(1)) ** 2).mean())


def test_the_adapter_for_another_width_is_discarded_after_training() -> None:
    student, teacher = build_transformer(1, width=4), build_transformer(2, width=8, heads=4)
    names = set(student.state_dict())
    learned = distill_transformer.apply(student, make_task(views=1), teacher=teacher, **RECIPE | TRANSFORMER)
    assert set(learned.state_dict()) == names


def test_the_embeddings_and_the_adapter_start_from_the_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_random_task("bert")
    student, teacher = (
        bert.build(task.inputs, task.outputs, vocabulary=30, width=width, depth=2, heads=2, inner=8) for width in (4, 8)
    )
    rows = torch.arange(3)
    batch = Batch(task.train.select(slice(3)).inputs, task.train.targets[:3], rows, rows)
    options = TRANSFORMER | {"embeddings": ["embedding.words"], "attention_weight": 0.0}
    _, trained = capture_loss(distill_transformer, student, teacher, batch, monkeypatch, options, task)
    table = teacher.get_submodule("embedding.words").weight.detach().double().numpy()
    directions = trained.get_submodule("adapter").weight.detach().double().numpy()
    np.testing.assert_allclose(
        student.get_submodule("embedding.words").weight.detach().numpy(), table @ directions, atol=1e-6
    )
    loss = np.square(table - table @ directions @ directions.T).sum()
    assert loss == pytest.approx(np.square(np.linalg.svd(table, compute_uv=False)[4:]).sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_attention": ["blocks.0"]}, "is not attention"),
        ({"student_hidden": ["classifier"]}, "is not hidden states"),
        ({"student_hidden": ["blocks.7"]}, "no layer 'blocks.7'"),
    ],
)
def test_layers_with_other_outputs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        distill_transformer.apply(
            build_transformer(1), make_task(views=1), teacher=build_transformer(2), **RECIPE | TRANSFORMER | changes
        )


def test_a_teacher_with_other_patches_is_refused() -> None:
    training.make_deterministic(0, 1)
    coarse = transformer.build(*make_ports(SHAPE, 4), patch=(4, 4), width=8, depth=2, heads=2, expansion=2)
    with pytest.raises(ConfigError, match="Give student and teacher the same patches"):
        distill_transformer.apply(build_transformer(1), make_task(views=1), teacher=coarse, **RECIPE | TRANSFORMER)


def test_different_numbers_of_layers_are_refused() -> None:
    with pytest.raises(ValidationError, match="student_hidden names 2 layers and teacher_hidden 1"):
        distill_transformer.Options.model_validate(RECIPE | TRANSFORMER | {"student_hidden": ["blocks.0", "blocks.1"]})


@pytest.mark.parametrize("role", ["student_hidden", "teacher_hidden"])
def test_hidden_states_with_different_widths_are_refused(role: str) -> None:
    attention = ["blocks.0.attention.probabilities"] * 2
    options = {"student_attention": attention, "teacher_attention": attention}
    options |= {"student_hidden": ["blocks.0"] * 2, "teacher_hidden": ["blocks.0"] * 2}
    options[role] = ["blocks.0", "blocks.1.perceptron.widen"]
    with pytest.raises(ConfigError, match=r"one width, but 'blocks.0' has 8, 'blocks.1.perceptron.widen' has 16"):
        distill_transformer.apply(
            build_transformer(1), make_task(views=1), teacher=build_transformer(2), **RECIPE | TRANSFORMER | options
        )


def test_a_text_network_learns_its_embeddings_too() -> None:
    task = make_random_task("bert")
    student, teacher = (build_tiny_module("bert") for _ in range(2))
    with torch.no_grad():
        teacher.embedding.words.weight.add_(1.0).mul_(torch.linspace(-1, 1, 16))
    names = {"student_hidden": ["embedding"], "teacher_hidden": ["embedding"]}
    attention = {f"{who}_attention": ["blocks.0.attention.probabilities"] for who in ("student", "teacher")}
    options = TRANSFORMER | names | attention | {"hidden_weight": 50.0}

    def measure_distance() -> float:
        with torch.no_grad():
            hidden = [module.eval().embedding(task.train.inputs[0]) for module in (student, teacher)]
        return float((hidden[0] - hidden[1]).square().mean())

    before = measure_distance()
    distill_transformer.apply(student, task, teacher=teacher, **RECIPE | {"epochs": 10, "optimizer": "adamw"} | options)
    assert measure_distance() < before / 2
