"""The method prune_channels_taylor: scores of parameters, importances of channels, and the channels that it removes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning
from pydantic import ValidationError
from torch import nn

from edgeproof.methods import prune_channels_taylor
from edgeproof.models import channel_pruning
from edgeproof.models.training_task import Split, TrainingTask
from tests.support.channel_pruning_inputs import STILL, TAYLOR, build_plain_network
from tests.support.method_inputs import RECIPE, SHAPE, make_task
from tests.support.tiny_networks import count_resnet8_parameters

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


def make_double_task() -> TrainingTask:
    """Return the task with inputs in double precision."""
    task = make_task()
    inputs = tuple(tensor.double() for tensor in task.train.inputs)
    return dataclasses.replace(task, train=Split(inputs, task.train.targets))


def test_score_is_the_mean_of_squared_gradient_times_parameter() -> None:
    torch.manual_seed(0)
    module, task = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double(), make_double_task()
    x, labels = task.train.inputs[0], task.train.targets
    scores = prune_channels_taylor.compute_taylor_scores(module, task, 32, 8)
    weight, bias = module[1].weight.detach().numpy(), module[1].bias.detach().numpy()
    terms: list[list[np.ndarray]] = [[], []]
    for start in range(0, 32, 8):  # the gradient of the softmax regression, in closed form
        rows, truth = x[start : start + 8].flatten(1).numpy(), np.eye(4)[labels[start : start + 8].numpy()]
        odds = np.exp(rows @ weight.T + bias)
        error = (odds / odds.sum(1, keepdims=True) - truth) / 8
        terms[0].append((error.T @ rows * weight) ** 2)
        terms[1].append((error.sum(0) * bias) ** 2)
    np.testing.assert_allclose(scores[module[1].weight], np.mean(terms[0], axis=0), rtol=1e-9)
    np.testing.assert_allclose(scores[module[1].bias], np.mean(terms[1], axis=0), rtol=1e-9)


def test_score_approximates_the_squared_change_of_the_loss() -> None:
    module, task = build_plain_network(3, 4).double().eval(), make_double_task()
    x, labels = task.train.inputs[0], task.train.targets
    for p in module.parameters():  # the first-order approximation needs small parameters
        p.data *= 1e-3 if p.dim() > 1 else 1
    scores = prune_channels_taylor.compute_taylor_scores(module, task, 32, 32)

    def loss() -> float:
        return float(nn.functional.cross_entropy(module(x), labels).detach())

    before = loss()
    for p, place in ((module[0].weight, (1, 0, 2, 2)), (module[3].weight, (2, 1, 0, 1)), (module[7].weight, (3, 17))):
        value = p.data[place].item()
        p.data[place] = 0
        assert float(scores[p][place]) == pytest.approx((loss() - before) ** 2, rel=0.05)
        p.data[place] = value


def compute_importances(module: nn.Module, values: dict[nn.Parameter, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the importance of each group of coupled layers, by the name of its first layer."""
    graph = torch_pruning.DependencyGraph().build_dependency(module, torch.zeros(1, *SHAPE))
    names = {layer: name for name, layer in module.named_modules()}
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    return {
        names[group[0].dep.layer]: channel_pruning.sum_coupled_values(
            group, lambda layer, reads: prune_channels_taylor._sum_by_channel(layer, values, reads=reads)
        )
        for group in graph.get_all_groups(ignored_layers=[last], root_module_types=[nn.Conv2d, nn.Linear])
    }


def draw_values(module: nn.Module) -> dict[nn.Parameter, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {p: torch.rand(p.shape, generator=generator) for p in module.parameters()}


def test_importance_of_a_channel_sums_all_its_parameters() -> None:
    module = build_plain_network(3, 5)
    values = draw_values(module)
    importance = compute_importances(module, values)
    own = {name: values[p].numpy() for name, p in module.named_parameters()}
    for c in range(3):
        by_hand = own["0.weight"][c].sum() + own["0.bias"][c] + own["1.weight"][c] + own["1.bias"][c]
        assert float(importance["0"][c]) == pytest.approx(by_hand + own["3.weight"][:, c].sum(), rel=1e-5)
    for c in range(5):
        by_hand = own["3.weight"][c].sum() + own["3.bias"][c] + own["4.weight"][c] + own["4.bias"][c]
        assert float(importance["3"][c]) == pytest.approx(
            by_hand + own["7.weight"][:, 16 * c : 16 * c + 16].sum(), rel=1e-5
        )


def test_importance_beside_a_shortcut_sums_both_branches_and_all_readers(module: nn.Module) -> None:
    values = draw_values(module)
    (importance,) = [v for name, v in compute_importances(module, values).items() if len(v) == 8 and "stem" in name]
    own = {name: values[p].numpy() for name, p in module.named_parameters()}
    for c in range(8):
        by_hand = sum(own[name][c].sum() for name in ("stem.0.weight", "stem.1.weight", "stem.1.bias"))
        by_hand += sum(own[f"blocks.0.{name}"][c].sum() for name in ("conv2.weight", "norm2.weight", "norm2.bias"))
        readers = ("blocks.0.conv1", "blocks.1.conv1", "blocks.1.shortcut.0")
        by_hand += sum(own[f"{name}.weight"][:, c].sum() for name in readers)
        assert float(importance[c]) == pytest.approx(by_hand, rel=1e-5)


def test_a_grouped_convolution_reads_a_channel_only_with_the_weights_of_its_group() -> None:
    layer = nn.Conv2d(6, 4, 3, groups=2)
    values = draw_values(layer)
    importance = prune_channels_taylor._sum_by_channel(layer, values, reads=True)
    weight = values[layer.weight].numpy()
    by_hand = [weight[2 * (c // 3) : 2 * (c // 3) + 2, c % 3].sum() for c in range(6)]
    np.testing.assert_allclose(importance, by_hand, rtol=1e-5)


def test_channels_without_influence_on_the_loss_are_removed_first() -> None:
    module = build_plain_network(4, 4)
    with torch.no_grad():
        module[0].weight[[1, 2]] *= 50
        module[3].weight[:, [1, 2]] = 0  # no later layer reads them
        module[1].weight[[1, 2]] = 0
        module[1].bias[[1, 2]] = 0
    kept = module[0].weight.detach()[[0, 3]].clone()
    prune_channels_taylor.apply(module, make_task(), **STILL | TAYLOR)
    assert torch.equal(module[0].weight.detach(), kept)


def test_computing_scores_changes_neither_weights_nor_statistics(module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    prune_channels_taylor.compute_taylor_scores(module, make_task(), 32, 8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_pruned_network_has_the_parameters_of_a_narrower_network(module: nn.Module) -> None:
    prune_channels_taylor.apply(module, make_task(), **RECIPE | TAYLOR)
    assert sum(p.numel() for p in module.parameters()) == count_resnet8_parameters(1, 4, [4, 8])


@pytest.mark.parametrize(
    "wrong",
    [
        TAYLOR | {"ratio": 1.0},
        TAYLOR | {"round_to": 0},
        TAYLOR | {"samples": 0},
    ],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prune_channels_taylor.Options.model_validate(RECIPE | wrong)
