"""The contract of every method: same inputs and outputs, identical weights twice, unknown options refused."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgeproof.core import plugins
from edgeproof.models.training import make_deterministic
from edgeproof.models.training_task import TrainingTask
from tests.support.tiny_networks import list_torch_plugins, read_default_options, read_short_options

# Methods that need a file. tests/unit/methods covers each in a test of its own.
NEED_A_FILE = ("brought", "fine_tune", "pretrained")
METHODS = [name for name in list_torch_plugins("methods") if name not in NEED_A_FILE]
# Methods that work only for one network, with that network.
NETWORK_OF = {"distill_transformer": "transformer"}


def apply_method(name: str, module: torch.nn.Module, task: TrainingTask) -> torch.nn.Module:
    method = plugins.load("methods", name)
    make_deterministic(0, 1)
    if network := NETWORK_OF.get(name):
        options = read_default_options("networks", network)
        module = plugins.load("networks", network).build(task.inputs, task.outputs, **options)
    extra: dict[str, Any] = {}
    if "teacher" in (parameters := inspect.signature(method.apply).parameters):
        extra = {"teacher": copy.deepcopy(module)}
    elif "teachers" in parameters:
        extra = {"teachers": [copy.deepcopy(module), copy.deepcopy(module)]}
    result: torch.nn.Module = method.apply(copy.deepcopy(module), task, **extra, **read_short_options(name))
    return result


@pytest.mark.parametrize("name", METHODS)
def test_a_method_returns_a_module_with_the_same_inputs_and_outputs(
    name: str, module: torch.nn.Module, task: TrainingTask
) -> None:
    result = apply_method(name, module, task).eval()
    with torch.no_grad():
        outputs = result(task.validation.inputs[0])
    assert outputs.shape == (len(task.validation), *task.outputs[0].shape)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_identical_weights_twice(name: str, module: torch.nn.Module, task: TrainingTask) -> None:
    first, again = apply_method(name, module, task).state_dict(), apply_method(name, module, task).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", plugins.list_names("methods"))
def test_a_method_refuses_an_unknown_option(name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load("methods", name).Options.model_validate(read_short_options(name) | {"learnig_rate": 0.1})
