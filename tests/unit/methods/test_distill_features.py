"""The method distill_features: its loss, its adapter, and layers that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    distill_features,
    train,
)
from edgeproof.models import training
from edgeproof.networks import gru
from tests.support.distillation_inputs import (
    BATCH,
    FEATURES,
    LAYERS,
    build_network,
    capture_loss,
    compute_layer_output,
    make_batch,
    predict,
)
from tests.support.method_inputs import RECIPE, SHAPE, hinton_by_hand, make_task
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def pool_by_hand(x: np.ndarray, size: int) -> np.ndarray:
    n, c, h, w = x.shape
    return x.reshape(n, c, size, h // size, size, w // size).mean((3, 5))


@pytest.mark.parametrize(
    ("widths", "stem_stride", "layers"),
    [
        ((8, 16), 1, ("blocks", "blocks")),  # nothing to adapt
        ((8, 12), 2, ("blocks", "blocks")),  # another width and half the teacher's resolution
        ((8, 16), 1, ("stem", "blocks")),  # the student's resolution is the larger one
        ((8, 12), 1, ("pool", "pool")),
    ],
)
def test_training_loss_adds_the_feature_difference_to_hintons_loss(
    widths: tuple[int, ...], stem_stride: int, layers: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher, batch = (
        build_network(0, widths, stem_stride),
        build_network(1),
        make_batch(make_task(views=2), *BATCH),
    )
    options = FEATURES | {"student_layer": layers[0], "teacher_layer": layers[1]}
    value, trained = capture_loss(distill_features, student, teacher, batch, monkeypatch, options)
    ours, theirs = (
        compute_layer_output(student, layers[0], batch.inputs[0]),
        compute_layer_output(teacher, layers[1], batch.inputs[0]),
    )
    size = min(ours.shape[-1], theirs.shape[-1])
    ours, theirs = pool_by_hand(ours, size), pool_by_hand(theirs, size)
    if ours.shape[1] != theirs.shape[1]:
        weight = trained.adapter.weight.detach().double().numpy()[:, :, 0, 0]
        ours = np.einsum("oc,nchw->nohw", weight, ours)
    expected = hinton_by_hand(
        predict(student, batch.inputs[0]), predict(teacher, batch.inputs[0]), batch.targets.numpy(), 3.0, 0.3
    )
    assert value == pytest.approx(expected + 2 * ((ours - theirs) ** 2).mean(), rel=1e-4)


def test_the_adapter_is_trained_then_discarded_and_hooks_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = build_network(0, (4, 6)), build_network(1)
    names = list(student.state_dict())
    moved = []

    def observe(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        before = module.adapter.weight.detach().clone()
        training.fit(module, *args, **kwargs)
        moved.append(not torch.equal(before, module.adapter.weight))
        return module

    monkeypatch.setattr(distill_features, "fit", observe)
    result = distill_features.apply(student, make_task(), teacher=teacher, **RECIPE | FEATURES | LAYERS)
    assert moved == [True]
    assert result is student
    assert list(student.state_dict()) == names
    assert not any(layer._forward_hooks for module in (student, teacher) for layer in module.modules())


def test_the_adapter_depends_only_on_the_seed_of_the_task() -> None:
    teacher, results = build_network(1), []
    for draws in (0, 7):
        student = build_network(0, (4, 6))
        torch.rand(draws)
        distill_features.apply(student, make_task(), teacher=teacher, **RECIPE | FEATURES | LAYERS)
        results.append([p.detach().numpy().tobytes() for p in student.parameters()])
    assert results[0] == results[1]


def test_hints_move_features_towards_those_of_the_teacher() -> None:
    task = make_task()
    teacher = train.apply(build_network(1), task, **RECIPE | {"epochs": 4})

    def distance(hint_weight: float) -> float:
        options = RECIPE | FEATURES | LAYERS | {"epochs": 8, "hint_weight": hint_weight}
        student = distill_features.apply(build_network(0), task, teacher=teacher, **options)
        ours, theirs = (compute_layer_output(module, "blocks", task.train.inputs[0]) for module in (student, teacher))
        return float(((ours - theirs) ** 2).mean())

    near, far = distance(20.0), distance(1e-6)
    assert near < far / 2, (near, far)


@pytest.mark.parametrize("role", ["student_layer", "teacher_layer"])
def test_an_unknown_layer_is_refused_with_the_nearest_name(role: str) -> None:
    options = RECIPE | FEATURES | LAYERS | {role: "block"}
    with pytest.raises(ConfigError, match=r"no layer 'block'\. Did you mean 'blocks'\? It has: stem, "):
        distill_features.apply(build_network(0), make_task(), teacher=build_network(1), **options)


def test_a_layer_that_outputs_a_tuple_is_refused() -> None:
    recurrent = gru.build(*make_ports(SHAPE, 4), hidden=4)
    with pytest.raises(ConfigError, match=r"output of layer 'inputs' is a tuple, not one tensor"):
        distill_features.apply(
            recurrent, make_task(), teacher=build_network(1), **RECIPE | FEATURES | LAYERS | {"student_layer": "inputs"}
        )


@pytest.mark.parametrize(
    "wrong",
    [
        FEATURES | LAYERS | {"hard_weight": 1.1},
        FEATURES | LAYERS | {"hint_weight": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distill_features.Options.model_validate(RECIPE | wrong)
