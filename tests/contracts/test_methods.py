"""What every method promises: a module for the same task, the same to the bit, and bad options refused."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from edgeproof.core import plugins
from edgeproof.models.training import TrainingTask, deterministic
from tests.support.tiny_networks import of_torch

CONF = Path(__file__).parents[2] / "conf" / "methods"
# Methods that serve one kind of network alone, and that network.
SERVES = {"distill_transformer": "transformer"}


def options_of(name: str) -> dict[str, Any]:
    defaults = yaml.safe_load((CONF / f"{name}.yaml").read_text())["options"]
    return defaults | {"epochs": 1, "batch_size": 8}


def applied(name: str, module: torch.nn.Module, task: TrainingTask) -> torch.nn.Module:
    method = plugins.load("methods", name)
    deterministic(0, 1)
    if name in SERVES:
        options = yaml.safe_load((CONF.parent / "networks" / f"{SERVES[name]}.yaml").read_text())["options"]
        module = plugins.load("networks", SERVES[name]).build(task.input_shape, task.classes, **options)
    extra: dict[str, Any] = {}
    if "teacher" in (wanted := inspect.signature(method.apply).parameters):
        extra = {"teacher": copy.deepcopy(module)}
    elif "teachers" in wanted:
        extra = {"teachers": [copy.deepcopy(module), copy.deepcopy(module)]}
    result: torch.nn.Module = method.apply(copy.deepcopy(module), task, **extra, **options_of(name))
    return result


@pytest.mark.parametrize("name", of_torch("methods"))
def test_a_method_returns_a_module_with_the_same_inputs_and_outputs(
    name: str, module: torch.nn.Module, task: TrainingTask
) -> None:
    result = applied(name, module, task).eval()
    with torch.no_grad():
        outputs = result(task.validation_x)
    assert outputs.shape == (len(task.validation_x), task.classes)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("name", of_torch("methods"))
def test_a_method_gives_the_same_weights_to_the_bit(name: str, module: torch.nn.Module, task: TrainingTask) -> None:
    first, again = applied(name, module, task).state_dict(), applied(name, module, task).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", plugins.names("methods"))
def test_a_method_refuses_an_unknown_option(name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load("methods", name).Options.model_validate(options_of(name) | {"learnig_rate": 0.1})
