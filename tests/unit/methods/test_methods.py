"""Methods against their papers' formulas in plain numpy."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.core.errors import ConfigError
from edgeproof.methods import distill, prune_channels, prune_weights, round_weights, train
from edgeproof.models import layers, training, weight_rounding
from edgeproof.models.losses import hinton_loss
from edgeproof.models.training import TrainingTask
from edgeproof.networks import resnet8
from tests.unit.networks.test_networks import parameters_by_hand

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE = (1, 8, 8)
RECIPE = {"epochs": 1, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


def task_of(views: int = 1) -> TrainingTask:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(32, *SHAPE, generator=generator)
    y = torch.arange(32) % 4
    return TrainingTask("task", SHAPE, 4, x, y, x[:8], y[:8], views, lambda batch, k: batch.roll(k, -1), 0, 1)


@pytest.fixture
def module() -> nn.Module:
    training.make_deterministic(0, 1)
    return resnet8.build(SHAPE, 4, widths=[8, 16], stem_stride=1)


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for p in module.parameters() if p.dim() > 1]


# --- distillation --------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
logits = st.builds(lambda rng, scale: rng.standard_normal((5, 4)) * scale, seeds, st.floats(0, 6))
labels = st.builds(lambda rng: rng.integers(0, 4, 5), seeds)


def softmax(z: np.ndarray) -> np.ndarray:
    odds = np.exp(z - z.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def hinton(student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float) -> float:
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = float((p * (np.log(p) - np.log(q))).sum(1).mean())
    hard = float(-np.log(softmax(student)[np.arange(len(y)), y]).mean())
    return hard_weight * hard + (1 - hard_weight) * temperature**2 * soft


def ours(student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float) -> float:
    tensors = torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(y)
    return float(hinton_loss(*tensors, temperature=temperature, hard_weight=hard_weight))


@given(logits, logits, labels, st.floats(0.5, 20), st.floats(0, 1))
def test_the_distillation_loss_is_hintons_formula(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> None:
    expected = hinton(student, teacher, y, temperature, hard_weight)
    assert ours(student, teacher, y, temperature, hard_weight) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=15)
@given(logits, logits, labels, st.floats(1, 8), st.floats(0, 1))
def test_the_distillation_losss_gradient_is_that_of_finite_differences_of_the_formula(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray, temperature: float, hard_weight: float
) -> None:
    z = torch.from_numpy(student).requires_grad_()
    chosen = {"temperature": temperature, "hard_weight": hard_weight}
    hinton_loss(z, torch.from_numpy(teacher), torch.from_numpy(y), **chosen).backward()
    assert z.grad is not None
    step = 1e-5
    for place in [(0, 0), (2, 3), (4, 1)]:
        up, down = student.copy(), student.copy()
        up[place] += step
        down[place] -= step
        slope = (hinton(up, teacher, y, **chosen) - hinton(down, teacher, y, **chosen)) / (2 * step)
        assert float(z.grad[place]) == pytest.approx(slope, abs=1e-5)


@given(logits, logits, labels)
def test_at_high_temperature_the_soft_loss_matches_centred_logits(
    student: np.ndarray, teacher: np.ndarray, y: np.ndarray
) -> None:
    # Section 2.1 of the paper: T² · KL tends to half the mean squared difference of the zero-mean logits.
    difference = (student - student.mean(1, keepdims=True)) - (teacher - teacher.mean(1, keepdims=True))
    limit = float((difference**2).mean(1).mean()) / 2
    assert ours(student, teacher, y, 1e4, 0.0) == pytest.approx(limit, rel=5e-3, abs=1e-4)


@given(logits, labels, st.floats(0.5, 20))
def test_a_student_that_equals_its_teacher_has_only_the_hard_loss_left(
    student: np.ndarray, y: np.ndarray, temperature: float
) -> None:
    cross_entropy = hinton(student, student, y, 1.0, 1.0)
    assert ours(student, student, y, temperature, 0.0) == pytest.approx(0, abs=1e-9)
    assert ours(student, student, y, temperature, 0.3) == pytest.approx(0.3 * cross_entropy, abs=1e-9)


def test_logits_too_large_for_an_exponential_give_a_finite_loss() -> None:
    student, teacher = np.array([[1e4, -1e4]]), np.array([[-1e4, 1e4]])
    assert math.isfinite(ours(student, teacher, np.array([0]), 1.0, 0.5))


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def test_a_student_that_agrees_with_its_teacher_on_every_sample_in_every_view_does_not_move() -> None:
    # Were a teacher's answer taken for another sample or view, its gradient would not vanish.
    teacher = linear(0)
    student = copy.deepcopy(teacher)
    options = RECIPE | {"weight_decay": 0, "epochs": 2, "temperature": 4.0, "hard_weight": 0.0}
    distill.apply(student, task_of(views=4), teacher=teacher, **options)
    for p, q in zip(student.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-4)


def test_a_student_comes_closer_to_its_teacher_which_stays_as_it_was() -> None:
    teacher, student, task = linear(0), linear(1), task_of(views=2)
    before = [p.clone() for p in teacher.parameters()]

    def distance() -> float:
        answers = [training.compute_logits(m, task.train_x).double().numpy() for m in (student, teacher)]
        return hinton(answers[0], answers[1], task.train_y.numpy(), 1.0, 0.0)

    far = distance()
    options = RECIPE | {"weight_decay": 0, "epochs": 6, "temperature": 2.0, "hard_weight": 0.0}
    distill.apply(student, task, teacher=teacher, **options)
    assert distance() < far / 4
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), before, strict=True))


# --- pruning weights -----------------------------------------------------------------------------------------------


class Tensors(nn.Module):
    """A module that is only its parameters."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(tensor) for tensor in tensors])


shapes = st.lists(hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), min_size=1, max_size=4)


@given(shapes, st.floats(0.001, 0.999), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_exactly_the_share_asked_for_of_the_smallest_weights_is_pruned(
    sizes: list[tuple[int, ...]], sparsity: float, values: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:  # few values make many ties
        return rng.integers(-values, values + 1, shape) if values else rng.standard_normal(shape)

    module = Tensors([torch.from_numpy(draw(shape).astype(np.float32)) for shape in sizes])
    before = [w.detach().abs().numpy() for w in module.weights]
    layers.zero_smallest(list(module.weights), sparsity)
    masks = [w.detach().numpy() == 0 for w in module.weights]
    flat, zeros = np.concatenate([w.ravel() for w in before]), np.concatenate([m.ravel() for m in masks])
    assert zeros.sum() == max(round(sparsity * len(flat)), (flat == 0).sum())
    if 0 < zeros.sum() < len(flat):
        assert flat[zeros].max() <= flat[~zeros].min()
    for weight, original, mask in zip(module.weights, before, masks, strict=True):
        np.testing.assert_array_equal(weight.detach().abs().numpy()[~mask], original[~mask])


def test_biases_and_normalizations_are_never_pruned(module: nn.Module) -> None:
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() == 1:
                p.fill_(1e-9)
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    assert all(bool((p == 1e-9).all()) for p in module.parameters() if p.dim() == 1)


def test_one_threshold_for_the_network_prunes_the_layer_with_the_smallest_weights_most(module: nn.Module) -> None:
    with torch.no_grad():
        module.stem[0].weight *= 100
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.5, scope="global")
    assert bool(module.stem[0].weight.all())
    flat = torch.cat([w.flatten() for w in weights_of(module)])
    assert int((flat == 0).sum()) == round(0.5 * len(flat))


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_threshold_for_each_layer_prunes_exactly_the_share_of_its_smallest_weights(
    epochs: int, module: nn.Module
) -> None:
    before = [w.clone() for w in weights_of(module)]
    with torch.no_grad():
        module.stem[0].weight *= 100
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": epochs}, sparsity=0.7, scope="layer")
    for weight, original in zip(weights_of(module), before, strict=True):
        count = round(0.7 * weight.numel())
        smallest = np.argsort(original.abs().flatten().numpy(), kind="stable")[:count]
        assert np.flatnonzero(weight.flatten().numpy() == 0).tolist() == sorted(smallest)


def test_pruning_a_sparser_model_adds_no_weights(module: nn.Module) -> None:
    prune_weights.apply(module, task_of(), **RECIPE | {"epochs": 0}, sparsity=0.8, scope="global")
    zeros = [w == 0 for w in weights_of(module)]
    prune_weights.apply(module, task_of(), **RECIPE, sparsity=0.5, scope="global")
    assert all(torch.equal(w == 0, zero) for w, zero in zip(weights_of(module), zeros, strict=True))


def chain() -> nn.Module:
    """Layers one after the other, the second of which has by far the smallest weights."""
    training.make_deterministic(0, 1)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    module.extend([nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)])
    with torch.no_grad():
        module[3].weight *= 1e-6
    return module


def test_pruning_that_lets_nothing_through_names_the_emptied_layer() -> None:
    with pytest.raises(ConfigError, match=r"no longer depends on its input.*no weight is left in 3\. Remove less"):
        prune_weights.apply(chain(), task_of(), **RECIPE, sparsity=0.6, scope="global")
    prune_weights.apply(chain(), task_of(), **RECIPE, sparsity=0.6, scope="layer")


def test_a_layer_may_be_emptied_where_a_shortcut_leads_around_it(module: nn.Module) -> None:
    with torch.no_grad():
        module.blocks[1].conv1.weight *= 1e-6
    prune_weights.apply(module, task_of(), **RECIPE, sparsity=0.8, scope="global")
    assert not module.blocks[1].conv1.weight.any()


# --- rounding weights ----------------------------------------------------------------------------------------------

weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-1000, 1000, width=32).map(lambda v: v if abs(v) > 1e-20 else 0.0),
)
bits = st.integers(2, 8)


def rounded(weight: np.ndarray, count: int) -> np.ndarray:
    return weight_rounding.round_weight(torch.from_numpy(weight), count).numpy()


@given(weights, bits)
def test_a_rounded_channel_has_at_most_two_to_the_bits_minus_one_levels_evenly_spaced_around_zero(
    weight: np.ndarray, count: int
) -> None:
    for channel, original in zip(rounded(weight, count), weight, strict=True):
        most = 2 ** (count - 1) - 1
        assert len(np.unique(channel)) <= 2**count - 1
        step = np.abs(original).max() / most
        if step > 0:
            levels = channel.astype(float) / step
            np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
            assert np.abs(np.round(levels)).max() == most


@given(weights, bits)
def test_no_weight_is_moved_by_more_than_half_a_step(weight: np.ndarray, count: int) -> None:
    most = 2 ** (count - 1) - 1
    for channel, original in zip(rounded(weight, count), weight, strict=True):
        peak = float(np.abs(original).max())
        assert np.abs(channel.astype(float) - original).max() <= peak / most / 2 * (1 + 1e-4)


@given(weights, bits)
def test_rounding_twice_is_rounding_once(weight: np.ndarray, count: int) -> None:
    once = rounded(weight, count)
    np.testing.assert_allclose(rounded(once, count), once, rtol=1e-6)


@given(weights, bits)
def test_rounding_treats_both_signs_alike_and_keeps_zeros(weight: np.ndarray, count: int) -> None:
    np.testing.assert_array_equal(rounded(-weight, count), -rounded(weight, count))
    assert not rounded(weight, count)[weight == 0].any()


@given(weights, bits, st.integers(0, 5))
def test_channels_are_rounded_each_on_its_own(weight: np.ndarray, count: int, which: int) -> None:
    which %= len(weight)
    changed = weight.copy()
    changed[which] *= 3
    others = [i for i in range(len(weight)) if i != which]
    np.testing.assert_array_equal(rounded(changed, count)[others], rounded(weight, count)[others])


def test_a_channel_of_zeros_stays_zero_without_a_division_by_zero() -> None:
    assert not rounded(np.zeros((2, 3), np.float32), 4).any()


def test_more_bits_never_make_a_larger_error_on_average() -> None:
    weight = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    errors = [float(((rounded(weight, count) - weight) ** 2).mean()) for count in range(2, 9)]
    assert errors == sorted(errors, reverse=True)
    # Each bit more halves the step, so the squared error falls about fourfold once steps are fine.
    assert 3 < errors[-2] / errors[-1] < 5


@pytest.mark.parametrize("epochs", [0, 3])
def test_a_model_with_rounded_weights_keeps_them_as_ordinary_tensors_of_few_values(
    module: nn.Module, epochs: int
) -> None:
    names = list(module.state_dict())
    plain = copy.deepcopy(module)
    round_weights.apply(module, task_of(), **RECIPE | {"epochs": epochs}, bits=3)
    assert sorted(module.state_dict()) == sorted(names)
    assert not any(parametrize.is_parametrized(layer) for layer in module.modules())
    for weight in weights_of(module):
        assert all(len(channel.unique()) <= 7 for channel in weight)
    if epochs == 0:
        for weight, original in zip(weights_of(module), weights_of(plain), strict=True):
            np.testing.assert_array_equal(weight.numpy(), rounded(original.numpy(), 3))


def test_the_gradient_passes_the_rounding_so_that_weights_cross_zero_in_fine_tuning(module: nn.Module) -> None:
    # Through the rounding itself only a channel's largest weight would have a gradient: no other could change sign.
    still = copy.deepcopy(module)
    round_weights.apply(still, task_of(), **RECIPE | {"epochs": 0}, bits=2)
    options = RECIPE | {"epochs": 6, "learning_rate": 0.3, "weight_decay": 0}
    round_weights.apply(module, task_of(), **options, bits=2)
    crossed = sum(int((a * b < 0).sum()) for a, b in zip(weights_of(still), weights_of(module), strict=True))
    assert crossed > 0


# --- pruning channels ----------------------------------------------------------------------------------------------


def test_pruning_channels_leaves_the_network_that_narrower_widths_would_have_built(module: nn.Module) -> None:
    prune_channels.apply(module, task_of(), **RECIPE, ratio=0.5, round_to=1)
    assert sum(p.numel() for p in module.parameters()) == parameters_by_hand(1, 4, [4, 8])
    assert training.compute_logits(module, torch.rand(3, *SHAPE)).shape == (3, 4)


@pytest.mark.parametrize("round_to", [1, 2, 4])
def test_channel_counts_that_are_left_are_multiples_of_what_was_asked_for(module: nn.Module, round_to: int) -> None:
    before = sum(p.numel() for p in module.parameters())
    prune_channels.apply(module, task_of(), **RECIPE | {"epochs": 0}, ratio=0.4, round_to=round_to)
    counts = [layer.out_channels for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert all(count % round_to == 0 for count in counts)
    assert all(p.dim() != 2 or p.shape[0] == 4 for p in module.parameters())  # one logit a class is left
    assert sum(p.numel() for p in module.parameters()) < before


def test_the_weakest_channels_are_the_ones_removed() -> None:
    training.make_deterministic(0, 1)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    weak = [1, 4]
    with torch.no_grad():
        module[0].weight[weak] *= 1e-6
        module[4].weight[:, weak] *= 1e-6
    kept = module[0].weight.detach()[[0, 2, 3, 5]].clone()
    prune_channels.apply(module, task_of(), **RECIPE | {"epochs": 0}, ratio=1 / 3, round_to=1)
    assert torch.equal(module[0].weight.detach(), kept)
    assert module[4].weight.shape == (4, 4)


def test_pruning_that_would_remove_nothing_says_so(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"no channel was removed: ratio 0\.5 .* multiples of 16") as caught:
        prune_channels.apply(module, task_of(), **RECIPE, ratio=0.5, round_to=16)
    assert "smaller round_to" in str(caught.value)


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (distill, {"temperature": 0, "hard_weight": 0.3}),
        (distill, {"temperature": 4, "hard_weight": 1.1}),
        (prune_channels, {"ratio": 0, "round_to": 1}),
        (prune_channels, {"ratio": 1.2, "round_to": 1}),
        (prune_channels, {"ratio": 0.5, "round_to": 0}),
        (prune_weights, {"sparsity": 1, "scope": "global"}),
        (prune_weights, {"sparsity": 0, "scope": "global"}),
        (prune_weights, {"sparsity": 0.5, "scope": "channel"}),
        (round_weights, {"bits": 1}),
        (round_weights, {"bits": 9}),
        (train, {"bits": 4}),
    ],
)
def test_an_option_out_of_range_is_refused_before_anything_is_trained(method: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.Options.model_validate(RECIPE | wrong)


def test_training_by_labels_alone_raises_the_likelihood_of_the_true_labels(module: nn.Module) -> None:
    task = task_of()

    def likelihood() -> float:
        answers = training.compute_logits(module, task.train_x).double().numpy()
        return -hinton(answers, answers, task.train_y.numpy(), 1.0, 1.0)

    before = likelihood()
    train.apply(module, task, **RECIPE | {"epochs": 8})
    assert likelihood() > before
