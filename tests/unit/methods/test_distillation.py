"""Distillation beyond the logits: each loss against its paper's formula in plain numpy."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.methods import (
    distill,
    distill_attention,
    distill_dkd,
    distill_ensemble,
    distill_features,
    distill_relational,
    distill_transformer,
    train,
)
from edgeproof.models import training
from edgeproof.models.training import Batch, Recipe, TrainingTask
from edgeproof.networks import gru, resnet8, transformer
from tests.unit.methods.test_methods import RECIPE, SHAPE, hinton, labels, logits, seeds, softmax, task_of

pytestmark = pytest.mark.usefixtures("torch_settings_kept")

DKD = {"temperature": 3.0, "alpha": 0.5, "beta": 4.0}
FEATURES = {"temperature": 3.0, "hard_weight": 0.3, "hint_weight": 2.0}
LAYERS = {"student_layer": "blocks", "teacher_layer": "blocks"}
ATTENTION = {"beta": 50.0, "student_layers": ["stem", "blocks"], "teacher_layers": ["stem", "blocks"]}
RELATIONAL = {"distance_weight": 3.0, "angle_weight": 5.0, "student_layer": "pool", "teacher_layer": "pool"}


def network(seed: int, widths: tuple[int, ...] = (8, 16), stem_stride: int = 1) -> nn.Module:
    training.make_deterministic(seed, 1)
    return resnet8.build(SHAPE, 4, widths=widths, stem_stride=stem_stride).eval()


def batch_of(task: TrainingTask, samples: list[int], views: list[int]) -> Batch:
    x = torch.stack(
        [
            task.view(task.train_x[s : s + 1], v)[0] if v else task.train_x[s]
            for s, v in zip(samples, views, strict=True)
        ]
    )
    return Batch(x, task.train_y[samples], torch.tensor(samples), torch.tensor(views))


def loss_of(
    method: ModuleType,
    student: nn.Module,
    teacher: nn.Module,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> tuple[float, nn.Module]:
    """The loss that a method gives the training loop, of one batch in evaluation mode, and the module it trains."""
    seen = []

    def observe(module: nn.Module, task: TrainingTask, recipe: Recipe, *, loss: training.Loss) -> nn.Module:
        seen.append((float(loss(module.eval()(batch.x), batch).detach()), module))
        return module

    with monkeypatch.context() as patch:
        patch.setattr(method, "fit", observe)
        method.apply(student, task_of(views=2), teacher=teacher, **RECIPE | options)
    return seen[0]


@torch.no_grad()
def output_of(module: nn.Module, layer: str, x: torch.Tensor) -> np.ndarray:
    """What a layer of a resnet8 puts out, by walking through the network by hand."""
    assert isinstance(module, resnet8.ResNet)
    out = module.stem(x)
    if layer in ("blocks", "pool"):
        out = module.blocks(out)
    if layer == "pool":
        out = module.pool(out)
    return out.double().numpy()


@torch.no_grad()
def answer_of(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    return module(x).double().numpy()


BATCH = ([3, 9, 1, 30, 12, 4], [0, 1, 1, 0, 0, 1])


# --- decoupled -----------------------------------------------------------------------------------------------------


def decoupled(student: np.ndarray, teacher: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TCKD, NCKD and the teacher's probability of the true class, sample by sample as the paper writes them."""
    target, others, sure = [], [], []
    for p, q, label in zip(softmax(teacher), softmax(student), y, strict=True):
        pt, qt = p[label], q[label]
        rest_p, rest_q = np.delete(p, label), np.delete(q, label)
        target.append(pt * np.log(pt / qt) + rest_p.sum() * np.log(rest_p.sum() / rest_q.sum()))
        rest_p, rest_q = rest_p / rest_p.sum(), rest_q / rest_q.sum()
        others.append((rest_p * np.log(rest_p / rest_q)).sum())
        sure.append(pt)
    return np.array(target), np.array(others), np.array(sure)


def parts(student: np.ndarray, teacher: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(y)
    return [part.numpy() for part in distill_dkd.compute_decoupled_losses(*tensors)]


@given(logits, logits, labels)
def test_the_two_parts_are_the_papers_formulas(student: np.ndarray, teacher: np.ndarray, y: np.ndarray) -> None:
    target, others = parts(student, teacher, y)
    expected = decoupled(student, teacher, y)
    np.testing.assert_allclose(target, expected[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(others, expected[1], rtol=1e-6, atol=1e-8)


@given(logits, logits, labels)
def test_weighted_by_what_the_teacher_gives_to_other_classes_the_parts_are_hintons_divergence(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray
) -> None:
    target, others = parts(student, teacher, y)
    divergence = (target + (1 - softmax(teacher)[np.arange(len(y)), y]) * others).mean()
    assert divergence == pytest.approx(hinton(student, teacher, y, 1.0, 0.0), rel=1e-6, abs=1e-8)


@given(logits, logits, labels, st.floats(-5, 5))
def test_how_sure_the_student_is_of_the_true_class_does_not_change_how_it_ranks_the_others(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, shift: float
) -> None:
    surer = student.copy()
    surer[np.arange(len(y)), y] += shift
    np.testing.assert_allclose(parts(surer, teacher, y)[1], parts(student, teacher, y)[1], rtol=1e-6, atol=1e-8)


def test_decoupled_losses_of_extreme_logits_are_finite_with_finite_gradients() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    target, others = distill_dkd.compute_decoupled_losses(student, torch.tensor([[-1e4, 1e4, 0.0]]), torch.tensor([0]))
    (target + others).sum().backward()
    assert target.isfinite().all()
    assert others.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_decoupled_distillation_trains_on_the_formula_with_each_samples_own_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher, batch = network(0), network(1, (4, 6)), batch_of(task_of(views=2), *BATCH)
    value, _ = loss_of(distill_dkd, student, teacher, batch, monkeypatch, DKD)
    ours, theirs, y = answer_of(student, batch.x), answer_of(teacher, batch.x), batch.labels.numpy()
    target, others, _ = decoupled(ours / 3, theirs / 3, y)
    expected = hinton(ours, ours, y, 1.0, 1.0) + 9 * (0.5 * target.mean() + 4 * others.mean())
    assert value == pytest.approx(expected, rel=1e-4)


# --- features ------------------------------------------------------------------------------------------------------


def pooled(x: np.ndarray, size: int) -> np.ndarray:
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
def test_hints_add_the_mean_squared_difference_of_the_adapted_features_to_hintons_loss(
    widths: tuple[int, ...], stem_stride: int, layers: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher, batch = network(0, widths, stem_stride), network(1), batch_of(task_of(views=2), *BATCH)
    options = FEATURES | {"student_layer": layers[0], "teacher_layer": layers[1]}
    value, trained = loss_of(distill_features, student, teacher, batch, monkeypatch, options)
    learned, taught = output_of(student, layers[0], batch.x), output_of(teacher, layers[1], batch.x)
    size = min(learned.shape[-1], taught.shape[-1])
    learned, taught = pooled(learned, size), pooled(taught, size)
    if learned.shape[1] != taught.shape[1]:
        weight = trained.adapter.weight.detach().double().numpy()[:, :, 0, 0]
        learned = np.einsum("oc,nchw->nohw", weight, learned)
    expected = hinton(answer_of(student, batch.x), answer_of(teacher, batch.x), batch.labels.numpy(), 3.0, 0.3)
    assert value == pytest.approx(expected + 2 * ((learned - taught) ** 2).mean(), rel=1e-4)


def test_the_adapter_is_trained_and_thrown_away_and_nothing_listens_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = network(0, (4, 6)), network(1)
    names = list(student.state_dict())
    moved = []

    def observe(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        before = module.adapter.weight.detach().clone()
        training.fit(module, *args, **kwargs)
        moved.append(not torch.equal(before, module.adapter.weight))
        return module

    monkeypatch.setattr(distill_features, "fit", observe)
    result = distill_features.apply(student, task_of(), teacher=teacher, **RECIPE | FEATURES | LAYERS)
    assert moved == [True]
    assert result is student
    assert list(student.state_dict()) == names
    assert not any(layer._forward_hooks for module in (student, teacher) for layer in module.modules())


def test_the_adapter_comes_from_the_tasks_seed_whatever_was_drawn_before() -> None:
    teacher, results = network(1), []
    for draws in (0, 7):
        student = network(0, (4, 6))
        torch.rand(draws)
        distill_features.apply(student, task_of(), teacher=teacher, **RECIPE | FEATURES | LAYERS)
        results.append([p.detach().numpy().tobytes() for p in student.parameters()])
    assert results[0] == results[1]


def test_with_hints_a_students_features_come_closer_to_its_teachers_than_without() -> None:
    task = task_of()
    teacher = train.apply(network(1), task, **RECIPE | {"epochs": 4})

    def distance(hint_weight: float) -> float:
        options = RECIPE | FEATURES | LAYERS | {"epochs": 8, "hint_weight": hint_weight}
        student = distill_features.apply(network(0), task, teacher=teacher, **options)
        learned, taught = (output_of(module, "blocks", task.train_x) for module in (student, teacher))
        return float(((learned - taught) ** 2).mean())

    near, far = distance(20.0), distance(1e-6)
    assert near < far / 2, (near, far)


@pytest.mark.parametrize("role", ["student_layer", "teacher_layer"])
def test_a_layer_that_does_not_exist_is_named_with_the_nearest_that_does(role: str) -> None:
    options = RECIPE | FEATURES | LAYERS | {role: "block"}
    with pytest.raises(ConfigError, match=r"no layer 'block'\. Did you mean 'blocks'\? It has: stem, "):
        distill_features.apply(network(0), task_of(), teacher=network(1), **options)


# --- attention -----------------------------------------------------------------------------------------------------

maps = st.builds(lambda rng, channels: rng.standard_normal((3, channels, 4, 4)), seeds, st.integers(1, 6))


def attention(student: np.ndarray, teacher: np.ndarray) -> float:
    """Position by position and sample by sample, as the paper writes it."""
    distances = []
    for a, b in zip(student, teacher, strict=True):
        qa, qb = (np.array([(x[:, i, j] ** 2).sum() for i in range(4) for j in range(4)]) for x in (a, b))
        distances.append(((qa / np.linalg.norm(qa) - qb / np.linalg.norm(qb)) ** 2).mean())
    return float(np.mean(distances))


def attention_ours(student: np.ndarray, teacher: np.ndarray) -> float:
    return float(distill_attention.attention_loss(torch.from_numpy(student), torch.from_numpy(teacher)))


@given(maps, maps)
def test_the_attention_loss_is_the_papers_formula_for_any_widths(student: np.ndarray, teacher: np.ndarray) -> None:
    assert attention_ours(student, teacher) == pytest.approx(attention(student, teacher), rel=1e-9)


@given(maps, maps, st.floats(0.01, 100), seeds)
def test_attention_depends_neither_on_scale_nor_on_sign_nor_on_the_order_of_channels(
    student: np.ndarray, teacher: np.ndarray, scale: float, rng: np.random.Generator
) -> None:
    changed = -scale * student[:, rng.permutation(student.shape[1])]
    assert attention_ours(changed, teacher) == pytest.approx(attention_ours(student, teacher), rel=1e-9)
    assert attention_ours(changed, student) == pytest.approx(0, abs=1e-12)


@given(maps)
def test_a_larger_map_is_averaged_to_the_smaller_one(student: np.ndarray) -> None:
    larger = student.repeat(2, axis=2).repeat(2, axis=3)
    assert attention_ours(larger, student) == pytest.approx(0, abs=1e-12)


def test_a_silent_layer_has_a_finite_loss_and_gradient() -> None:
    silent = torch.zeros(2, 3, 4, 4, requires_grad=True)
    distill_attention.attention_loss(silent, torch.rand(2, 5, 4, 4)).backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_attention_transfer_trains_on_labels_and_on_the_sum_over_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, batch = network(0, (4, 6), 2), network(1, (8, 16), 2), batch_of(task_of(views=2), *BATCH)
    options = ATTENTION | {"student_layers": ["stem"], "teacher_layers": ["stem"]}
    value, _ = loss_of(distill_attention, student, teacher, batch, monkeypatch, options)
    answers = answer_of(student, batch.x)
    hard = hinton(answers, answers, batch.labels.numpy(), 1.0, 1.0)
    stem = attention(output_of(student, "stem", batch.x), output_of(teacher, "stem", batch.x))
    assert value == pytest.approx(hard + 50 * stem, rel=1e-4)
    twice = ATTENTION | {"student_layers": ["stem", "stem"], "teacher_layers": ["stem", "stem"]}
    value, _ = loss_of(distill_attention, student, teacher, batch, monkeypatch, twice)
    assert value == pytest.approx(hard + 100 * stem, rel=1e-4)


def test_a_layer_whose_output_is_no_map_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(N, C\) or \(N, C, H, W\)"):
        distill_attention.attention_loss(torch.rand(2, 3, 4), torch.rand(2, 3, 4))


# --- relations -----------------------------------------------------------------------------------------------------

features = st.builds(lambda rng, width: rng.standard_normal((5, width)), seeds, st.integers(2, 6))


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


def relations(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher)
    return [float(distill_relational.distance_loss(*tensors)), float(distill_relational.angle_loss(*tensors))]


@given(features, features)
def test_relational_losses_are_the_papers_formulas_for_any_widths(student: np.ndarray, teacher: np.ndarray) -> None:
    expected = [distances_by_hand(student, teacher), angles_by_hand(student, teacher)]
    assert relations(student, teacher) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(features, features, st.floats(0.01, 100), seeds)
def test_relations_do_not_change_when_features_are_rotated_moved_or_scaled(
    student: np.ndarray, teacher: np.ndarray, scale: float, rng: np.random.Generator
) -> None:
    width = student.shape[1]
    rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
    changed = scale * (student @ rotation + rng.standard_normal(width))
    assert relations(changed, teacher) == pytest.approx(relations(student, teacher), rel=1e-6, abs=1e-9)
    assert relations(changed, student) == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("samples", [torch.zeros(4, 3), torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])])
def test_samples_with_the_same_features_have_finite_relations_and_gradients(samples: torch.Tensor) -> None:
    student = samples.clone().requires_grad_()
    teacher = torch.randn(len(samples), 5, generator=torch.Generator().manual_seed(0))
    loss = distill_relational.distance_loss(student, teacher) + distill_relational.angle_loss(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e4


def test_relational_distillation_trains_on_labels_and_both_relations(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, batch = network(0, (4, 6)), network(1), batch_of(task_of(views=2), *BATCH)
    value, _ = loss_of(distill_relational, student, teacher, batch, monkeypatch, RELATIONAL)
    ours, theirs = (output_of(module, "pool", batch.x)[:, :, 0, 0] for module in (student, teacher))
    answers = answer_of(student, batch.x)
    hard = hinton(answers, answers, batch.labels.numpy(), 1.0, 1.0)
    expected = hard + 3 * distances_by_hand(ours, theirs) + 5 * angles_by_hand(ours, theirs)
    assert value == pytest.approx(expected, rel=1e-4)


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "weightless"),
    [
        (distill_dkd, DKD | {"alpha": 0, "beta": 0}),
        (distill_relational, RELATIONAL | {"distance_weight": 0, "angle_weight": 0}),
    ],
)
def test_without_weights_for_the_teacher_distillation_is_training(method: ModuleType, weightless: Any) -> None:
    student, teacher = network(0), network(1)
    alone = train.apply(copy.deepcopy(student), task_of(), **RECIPE)
    distilled = method.apply(student, task_of(), teacher=teacher, **RECIPE | weightless)
    for p, q in zip(distilled.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "options"),
    [(distill_attention, ATTENTION), (distill_relational, RELATIONAL), (distill_features, FEATURES | LAYERS)],
)
def test_a_teacher_answers_in_evaluation_mode_and_is_not_trained(method: ModuleType, options: dict[str, Any]) -> None:
    teacher = network(1).train()
    before = copy.deepcopy(teacher.state_dict())
    method.apply(network(0), task_of(), teacher=teacher, **RECIPE | options)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (distill_dkd, DKD | {"temperature": 0}),
        (distill_dkd, DKD | {"alpha": -1}),
        (distill_dkd, DKD | {"beta": -0.1}),
        (distill_features, FEATURES | LAYERS | {"hard_weight": 1.1}),
        (distill_features, FEATURES | LAYERS | {"hint_weight": 0}),
        (distill_attention, ATTENTION | {"beta": 0}),
        (distill_attention, ATTENTION | {"student_layers": [], "teacher_layers": []}),
        (distill_attention, ATTENTION | {"student_layers": ["stem"]}),
        (distill_relational, RELATIONAL | {"distance_weight": -1}),
        (distill_relational, RELATIONAL | {"angle_weight": -1}),
        (distill_relational, RELATIONAL | {"batch_size": 2}),
    ],
)
def test_an_option_out_of_range_is_refused(method: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)


# --- several teachers ----------------------------------------------------------------------------------------------


@given(seed=seeds, temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]), teachers=st.integers(1, 4))
def test_the_answer_of_several_teachers_is_the_mean_of_their_softened_answers(
    seed: int, temperature: float, teachers: int
) -> None:
    rng = np.random.default_rng(seed)
    answers = [rng.normal(0, 3, (6, 5)) for _ in range(teachers)]
    told = distill_ensemble.average_predictions([torch.from_numpy(z) for z in answers], temperature)
    expected = np.mean([softmax(z / temperature) for z in answers], axis=0)
    np.testing.assert_allclose(softmax(told.numpy() / temperature), expected, rtol=1e-6)


def test_an_answer_that_a_teacher_all_but_excludes_stays_finite() -> None:
    told = distill_ensemble.average_predictions([torch.tensor([[0.0, -4000.0]]), torch.tensor([[0.0, -3000.0]])], 1.0)
    assert told.isfinite().all()


def test_twice_the_same_teacher_teaches_what_it_teaches_alone() -> None:
    teacher, options = network(1), {"temperature": 3.0, "hard_weight": 0.3}
    alone = distill.apply(network(2), task_of(views=2), teacher=teacher, **RECIPE | options)
    twice = distill_ensemble.apply(network(2), task_of(views=2), teachers=[teacher, teacher], **RECIPE | options)
    for one, other in zip(alone.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# --- Transformers --------------------------------------------------------------------------------------------------

TRANSFORMER = {
    "temperature": 3.0,
    "hard_weight": 0.3,
    "attention_weight": 7.0,
    "hidden_weight": 2.0,
    "student_attention": ["blocks.0.attention.probabilities"],
    "teacher_attention": ["blocks.1.attention.probabilities"],
    "student_hidden": ["blocks.0"],
    "teacher_hidden": ["blocks.1"],
}


def attentive(seed: int, *, width: int = 8, depth: int = 2, heads: int = 2) -> nn.Module:
    training.make_deterministic(seed, 1)
    return transformer.build(SHAPE, 4, patch=(2, 2), width=width, depth=depth, heads=heads, expansion=2).eval()


@torch.no_grad()
def states_of(module: nn.Module, block: int, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Attention (N, heads, T, T) and hidden states (N, T, D) of a block, heard while the network runs."""
    heard: dict[str, np.ndarray] = {}
    layers = dict(module.named_modules())
    handles = [
        layers[name].register_forward_hook(lambda layer, given, out, name=name: heard.update({name: out.numpy()}))
        for name in (f"blocks.{block}.attention.probabilities", f"blocks.{block}")
    ]
    module(x)
    for handle in handles:
        handle.remove()
    return heard[f"blocks.{block}.attention.probabilities"], heard[f"blocks.{block}"]


def test_a_transformer_learns_logits_attention_and_hidden_states_as_the_formula_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = attentive(1), attentive(2)
    batch = batch_of(task_of(views=2), [0, 3, 5], [0, 0, 0])
    told, _ = loss_of(distill_transformer, student, teacher, batch, monkeypatch, TRANSFORMER)
    ours, theirs = states_of(student, 0, batch.x), states_of(teacher, 1, batch.x)
    with torch.no_grad():
        answers = [module(batch.x).double().numpy() for module in (student, teacher)]
    expected = hinton(*answers, batch.labels.numpy(), 3.0, 0.3)
    expected += 7.0 * ((ours[0] - theirs[0]) ** 2).mean() + 2.0 * ((ours[1] - theirs[1]) ** 2).mean()
    assert told == pytest.approx(expected, rel=1e-4)


def test_heads_that_differ_in_number_are_compared_by_their_mean() -> None:
    rng = np.random.default_rng(0)
    two, four = (rng.dirichlet(np.ones(5), (3, heads, 5)) for heads in (2, 4))
    told = float(distill_transformer.attention_loss(torch.from_numpy(two), torch.from_numpy(four)))
    assert told == pytest.approx(((two.mean(1) - four.mean(1)) ** 2).mean())


def test_a_student_of_another_width_learns_hidden_states_through_an_adapter_that_is_thrown_away() -> None:
    student, teacher = attentive(1, width=4), attentive(2, width=8, heads=4)
    names = set(student.state_dict())
    learned = distill_transformer.apply(student, task_of(views=1), teacher=teacher, **RECIPE | TRANSFORMER)
    assert set(learned.state_dict()) == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_attention": ["blocks.0"]}, "is not attention"),
        ({"student_hidden": ["classifier"]}, "is not hidden states"),
        ({"student_hidden": ["blocks.7"]}, "no layer 'blocks.7'"),
    ],
)
def test_layers_that_give_neither_attention_nor_hidden_states_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        distill_transformer.apply(
            attentive(1), task_of(views=1), teacher=attentive(2), **RECIPE | TRANSFORMER | changes
        )


def test_a_teacher_of_other_patches_is_refused() -> None:
    training.make_deterministic(0, 1)
    coarse = transformer.build(SHAPE, 4, patch=(4, 4), width=8, depth=2, heads=2, expansion=2)
    with pytest.raises(ConfigError, match="Give student and teacher the same patches"):
        distill_transformer.apply(attentive(1), task_of(views=1), teacher=coarse, **RECIPE | TRANSFORMER)


def test_pairs_of_layers_are_as_many_on_both_sides() -> None:
    with pytest.raises(ValidationError, match="student_hidden names 2 layers and teacher_hidden 1"):
        distill_transformer.Options.model_validate(RECIPE | TRANSFORMER | {"student_hidden": ["blocks.0", "blocks.1"]})


@pytest.mark.parametrize("role", ["student_hidden", "teacher_hidden"])
def test_hidden_states_of_several_widths_are_refused(role: str) -> None:
    attention = ["blocks.0.attention.probabilities"] * 2
    options = {"student_attention": attention, "teacher_attention": attention}
    options |= {"student_hidden": ["blocks.0"] * 2, "teacher_hidden": ["blocks.0"] * 2}
    options[role] = ["blocks.0", "blocks.1.perceptron.widen"]
    with pytest.raises(ConfigError, match=r"one width, but 'blocks.0' has 8, 'blocks.1.perceptron.widen' has 16"):
        distill_transformer.apply(
            attentive(1), task_of(views=1), teacher=attentive(2), **RECIPE | TRANSFORMER | options
        )


def test_a_layer_that_puts_out_no_tensor_is_refused() -> None:
    recurrent = gru.build(SHAPE, 4, hidden=4)
    with pytest.raises(ConfigError, match=r"output of layer 'inputs' is a tuple, not one tensor"):
        distill_features.apply(
            recurrent, task_of(), teacher=network(1), **RECIPE | FEATURES | LAYERS | {"student_layer": "inputs"}
        )
