"""Models on disk: identical to the bit after loading, with pruned shapes, and refused when damaged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from edgeproof.core import directories
from edgeproof.core.errors import ArtifactError, UnknownNameError
from edgeproof.models import layer_sizes, model_files
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE = (1, 8, 8)
SPEC = model_files.NetworkSpec("resnet8", {"widths": [8, 16], "stem_stride": 1}, *make_ports(SHAPE, 10))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    built = SPEC.build()
    for layer in built.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.num_batches_tracked.fill_(7)
    return built.eval()


def compute_outputs(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1)))


def test_a_loaded_model_has_the_same_bits(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {"name": "m"}, tmp_path / "m")
    loaded, spec, meta = model_files.load(tmp_path / "m")
    assert spec.to_meta() == SPEC.to_meta()
    assert meta["name"] == "m"
    assert not loaded.training
    before, after = module.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for key in before:
        assert before[key].dtype == after[key].dtype
        assert before[key].numpy().tobytes() == after[key].numpy().tobytes()


def test_special_floating_point_values_keep_their_bits(module: nn.Module, tmp_path: Path) -> None:
    weight = next(module.parameters())
    with torch.no_grad():
        weight.view(-1)[:4] = torch.tensor([-0.0, float("inf"), 1e-45, float("nan")])
    model_files.save(module, SPEC, {}, tmp_path / "m")
    again = next(model_files.load(tmp_path / "m")[0].parameters())
    assert weight.detach().numpy().tobytes() == again.detach().numpy().tobytes()


def test_stored_bytes_do_not_depend_on_the_memory_layout(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {}, tmp_path / "a")
    model_files.save(module.to(memory_format=torch.channels_last), SPEC, {}, tmp_path / "b")
    for name in ("weights.safetensors", "meta.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_loaded_pruned_model_computes_the_same(module: nn.Module, tmp_path: Path, ratio: float) -> None:
    torch_pruning.pruner.BasePruner(
        module,
        torch.zeros(1, *SHAPE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[module.classifier],
    ).step()
    model_files.save(module, SPEC, {}, tmp_path / "m")
    loaded, _, meta = model_files.load(tmp_path / "m")
    assert torch.equal(compute_outputs(module.eval()), compute_outputs(loaded))
    assert meta["parameters"] == sum(p.numel() for p in module.parameters())
    assert meta["parameters"] < sum(p.numel() for p in SPEC.build().parameters())
    for fresh, pruned in zip(loaded.modules(), module.modules(), strict=True):
        for key in ("in_channels", "out_channels", "in_features", "out_features", "num_features", "groups"):
            assert getattr(fresh, key, None) == getattr(pruned, key, None)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_an_unpruned_depthwise_convolution_keeps_its_shape(multiplier: int) -> None:
    layer = nn.Conv2d(4, 4 * multiplier, 3, groups=4)
    module, stored = nn.Sequential(copy.deepcopy(layer)), nn.Sequential(layer).state_dict()
    layer_sizes.resize_layers(module, stored)
    module.load_state_dict(stored)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(module(x), layer(x))


def test_a_pruned_depthwise_convolution_takes_its_groups_from_the_weights() -> None:
    pruned = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3))
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    layer_sizes.resize_layers(module, pruned.state_dict())
    module.load_state_dict(pruned.state_dict())
    x = torch.rand(1, 3, 5, 5)
    assert torch.equal(module(x), pruned(x))


@pytest.mark.parametrize("length", [0, 8, 100, -1])
def test_truncated_weights_are_refused(module: nn.Module, tmp_path: Path, length: int) -> None:
    model_files.save(module, SPEC, {}, tmp_path / "m")
    path = tmp_path / "m" / model_files.WEIGHTS
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is damaged.*dvc repro"):
        model_files.load(tmp_path / "m")


def test_missing_weights_are_refused(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {}, tmp_path / "m")
    (tmp_path / "m" / model_files.WEIGHTS).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        model_files.load(tmp_path / "m")


def test_a_model_that_was_never_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="never built"):
        model_files.load(tmp_path / "m")


class ChangedState(nn.Module):
    """A module whose state lacks one tensor or has one too many."""

    def __init__(self, module: nn.Module, change: str) -> None:
        super().__init__()
        self._module, self._change = module, change

    def state_dict(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        state = dict(self._module.state_dict())
        if self._change == "extra":
            state["head.weight"] = torch.zeros(1)
        else:
            del state[self._change]
        return state

    def forward(self, x: torch.Tensor) -> Any:
        return self._module(x)


@pytest.mark.parametrize("change", ["classifier.weight", "classifier.bias", "stem.1.running_mean", "extra"])
def test_weights_that_do_not_fit_their_network_are_refused(module: nn.Module, tmp_path: Path, change: str) -> None:
    model_files.save(ChangedState(module, change), SPEC, {}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="does not fit network 'resnet8'"):
        model_files.load(tmp_path / "m")


def test_an_unknown_network_is_refused_with_the_nearest_name(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, model_files.NetworkSpec("resnet9", {}, *make_ports(SHAPE, 10)), {}, tmp_path / "m")
    with pytest.raises(UnknownNameError, match=r"unknown network 'resnet9'\. Did you mean 'resnet8'\?"):
        model_files.load(tmp_path / "m")


def test_the_old_model_stays_if_writing_the_new_one_fails(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {"name": "old"}, tmp_path / "m")
    with pytest.raises(TypeError):
        model_files.save(module, SPEC, {"name": object()}, tmp_path / "m")
    assert directories.read_meta(tmp_path / "m")["name"] == "old"
