"""The method pretrained: a user's weights are verified, checked and loaded, and nothing else is trained or run."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from edgeproof.core.errors import ConfigError, DataError
from edgeproof.methods import pretrained
from edgeproof.models import weight_files
from edgeproof.models.training_task import TrainingTask
from tests.support.network_kinds import make_random_task
from tests.support.tiny_networks import build_tiny_module

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@pytest.fixture
def task() -> TrainingTask:
    return make_random_task("cnn2")


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Return weights that differ from those of a new network."""
    return {name: tensor + 1 for name, tensor in build_tiny_module("cnn2").state_dict().items()}


def pin(path: Path) -> dict[str, str]:
    return {"weights": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def load(path: Path, task: TrainingTask, network: str = "cnn2") -> nn.Module:
    return pretrained.apply(build_tiny_module(network), task, **pin(path))


WRITERS: dict[str, Callable[[dict[str, torch.Tensor], Path], None]] = {
    "a.safetensors": safetensors.torch.save_file,
    "a.pt": torch.save,
    "a.pth": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
    "a.bin": lambda state, path: torch.save({"model": state, "best": 0.9}, path),
    "b.pt": lambda state, path: torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path),
    "c.pt": lambda state, path: torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, path),
    "d.pt": lambda state, path: torch.save({name: tensor.double() for name, tensor in state.items()}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_those_of_the_file(
    name: str, task: TrainingTask, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    WRITERS[name](state, tmp_path / name)
    loaded = load(tmp_path / name, task).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_changed_file_is_refused_with_the_sha256_to_type(
    task: TrainingTask, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(state, path)
    options = pin(path)
    safetensors.torch.save_file({name: tensor * 2 for name, tensor in state.items()}, path)
    with pytest.raises(DataError, match="differs from the option 'sha256'") as failure:
        pretrained.apply(build_tiny_module("cnn2"), task, **options)
    assert str(failure.value).endswith(f"sha256: {pin(path)['sha256']}")


def test_a_missing_file_is_refused(task: TrainingTask, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*a\.pt"):
        pretrained.apply(build_tiny_module("cnn2"), task, weights=str(tmp_path / "a.pt"), sha256="0" * 64)


def test_names_and_shapes_that_differ_are_listed_with_the_nearest_name(
    task: TrainingTask, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    names = list(state)
    state[f"{names[0]}s"] = state.pop(names[0])
    state[names[1]] = torch.zeros(99)
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError) as failure:
        load(tmp_path / "a.safetensors", task)
    message = str(failure.value)
    assert f"it has no '{names[0]}'" in message
    assert f"the nearest is '{names[0]}s'" in message
    assert f"the network has no '{names[0]}s'; the nearest is '{names[0]}'" in message
    assert f"'{names[1]}' is 99 in the file and" in message
    assert message.endswith("network_options, so that it is the network that was trained.")


def test_the_counters_of_normalizations_may_be_missing(tmp_path: Path) -> None:
    module = build_tiny_module("resnet8")
    state = {name: tensor for name, tensor in module.state_dict().items() if "num_batches" not in name}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors", make_random_task("resnet8"), "resnet8").state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_weights_that_are_not_finite_are_refused(
    task: TrainingTask, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    first = next(iter(state))
    state[first].view(-1)[0] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=f"the tensor '{first}' holds NaN"):
        load(tmp_path / "a.safetensors", task)


class Trap:
    """Touches a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_code_in_a_file_never_runs(name: str, task: TrainingTask, tmp_path: Path) -> None:
    path, touched = tmp_path / name, tmp_path / "touched"
    for content in (pickle.dumps(Trap(touched)), b"", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(DataError):
            load(path, task)
    torch.save({"state_dict": Trap(touched)}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"Save the state_dict: torch\.save\(model\.state_dict\(\)"):
        load(tmp_path / "a.pth", task)
    assert not touched.exists()


def test_a_whole_module_is_refused_with_the_way_to_save_its_weights(task: TrainingTask, tmp_path: Path) -> None:
    torch.save(build_tiny_module("cnn2"), tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"holds more than tensors.*torch\.save\(model\.state_dict\(\)") as caught:
        load(tmp_path / "a.pt", task)
    assert "\x1b" not in str(caught.value)  # no colours of a terminal


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, torch.zeros(3)])
def test_other_content_is_no_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="holds no state_dict"):
        weight_files.read_weights(tmp_path / "a.pt")
