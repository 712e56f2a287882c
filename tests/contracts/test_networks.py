"""The contract of every network: it trains, it can be pruned, and it is stored without its history."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from edgeproof.core import plugins
from edgeproof.data.task_checks import as_tuple
from edgeproof.methods.prune_channels import remove_channels
from edgeproof.models import frameworks, model_files
from edgeproof.models.training import Recipe, fit, make_deterministic
from tests.support.network_kinds import Interface, draw_inputs, find_kind, make_random_task
from tests.support.tiny_networks import (
    build_tiny_module,
    build_tiny_spec,
    list_torch_plugins,
    prune_half_the_channels,
    read_default_options,
)

NAMES = list_torch_plugins("networks")
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.05, momentum=0.9, weight_decay=0.0)


@pytest.mark.parametrize(
    ("name", "interface"), [(name, interface) for name in NAMES for interface in find_kind(name).sizes]
)
def test_default_options_work_for_inputs_of_every_size(name: str, interface: Interface) -> None:
    inputs, outputs = interface
    module = plugins.load("networks", name).build(inputs, outputs, **read_default_options("networks", name)).eval()
    values = as_tuple(module(*draw_inputs(inputs, 3)))
    assert [tuple(value.shape) for value in values] == [(3, *port.shape) for port in outputs]
    assert all(value.isfinite().all() for value in values)


@pytest.mark.parametrize("name", NAMES)
def test_training_reaches_every_parameter_and_is_reproducible(name: str) -> None:
    trained = []
    for _ in range(2):
        make_deterministic(0, 1)
        module = fit(build_tiny_spec(name).build(), make_random_task(name), RECIPE)
        assert all(p.grad is not None for p in module.parameters())
        trained.append(module.state_dict())
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])
    untrained = build_tiny_module(name).state_dict()
    parameters = [key for key, _ in module.named_parameters()]
    assert any(not torch.equal(trained[0][key], untrained[key]) for key in parameters)


@pytest.mark.parametrize("name", NAMES)
def test_removing_unread_channels_changes_no_output(name: str) -> None:
    """Remove the first half of every group of channels.

    The smaller network must compute what the whole network computes with the weights that read these channels at zero.
    It does not if a split, a shuffle or a flattening mixes up channels.
    """
    module, task = build_tiny_module(name), make_random_task(name)
    whole, names = copy.deepcopy(module), {layer: name for name, layer in module.named_modules()}
    readers = (torch_pruning.function.prune_conv_in_channels, torch_pruning.function.prune_linear_in_channels)

    def first_half_least(group: Any) -> torch.Tensor:
        count = len(group[0].idxs)
        for item in group:
            if item.dep.pruning_fn in readers:
                removed = [c for c, root in zip(item.idxs, item.root_idxs, strict=True) if root < count // 2]
                with torch.no_grad():
                    whole.get_submodule(names[item.dep.layer]).weight[:, removed] = 0
        return torch.arange(float(count))

    before = as_tuple(whole(*task.train.inputs))
    remove_channels(module, task, first_half_least, ratio=0.5, round_to=1)
    expected, actual = (as_tuple(each.eval()(*task.train.inputs)) for each in (whole, module))
    assert not any(torch.allclose(*pair, atol=1e-3) for pair in zip(expected, before, strict=True))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_pruned_network_is_smaller_and_can_be_loaded(name: str, tmp_path: Path) -> None:
    task = make_random_task(name)
    whole = frameworks.compute_facts(build_tiny_module(name), find_kind(name).tiny[0])
    module = prune_half_the_channels(build_tiny_module(name), task)
    meta = model_files.save(module, build_tiny_spec(name), {}, tmp_path / "m")
    assert meta["parameters"] < 0.85 * whole.parameters
    assert meta["macs"] < 0.85 * whole.macs
    loaded, _, _ = model_files.load(tmp_path / "m")
    with torch.no_grad():
        ours, theirs = as_tuple(loaded(*task.train.inputs)), as_tuple(module(*task.train.inputs))
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert sum(p.numel() for p in fit(loaded, task, RECIPE).parameters()) == meta["parameters"]


@pytest.mark.parametrize("name", NAMES)
def test_every_multidimensional_parameter_is_the_weight_of_a_layer(name: str) -> None:
    """Methods prune and round every tensor with two or more dimensions, so each must be the weight of a layer."""
    module = build_tiny_module(name)
    weights = {id(p) for p in module.parameters() if p.dim() > 1}
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert weights == {id(layer.weight) for layer in layers}
    if len(outputs := find_kind(name).tiny[1]) == 1:
        assert layers[-1].out_features == outputs[0].size
