"""Models on disk: bit-identical there and back, pruned shapes included, and facts worked out by hand."""

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
from edgeproof.models import frameworks, model_files
from edgeproof.models.entropy_coding import HEADER_BYTES

SHAPE = (1, 8, 8)
SPEC = model_files.NetworkSpec("resnet8", {"widths": [8, 16], "stem_stride": 1}, SHAPE, 10)


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


def outputs_of(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1)))


# --- there and back ------------------------------------------------------------------------------------------------


def test_a_model_comes_back_with_every_bit_of_its_weights_and_statistics(module: nn.Module, tmp_path: Path) -> None:
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


def test_weights_that_are_no_ordinary_numbers_keep_their_bits(module: nn.Module, tmp_path: Path) -> None:
    weight = next(module.parameters())
    with torch.no_grad():
        weight.view(-1)[:4] = torch.tensor([-0.0, float("inf"), 1e-45, float("nan")])
    model_files.save(module, SPEC, {}, tmp_path / "m")
    again = next(model_files.load(tmp_path / "m")[0].parameters())
    assert weight.detach().numpy().tobytes() == again.detach().numpy().tobytes()


def test_saving_twice_gives_the_same_bytes_whatever_the_memory_layout(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {}, tmp_path / "a")
    model_files.save(module.to(memory_format=torch.channels_last), SPEC, {}, tmp_path / "b")
    for name in ("weights.safetensors", "meta.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_pruned_model_computes_the_same_after_loading_without_its_pruning_history(
    module: nn.Module, tmp_path: Path, ratio: float
) -> None:
    torch_pruning.pruner.BasePruner(
        module,
        torch.zeros(1, *SHAPE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[module.classifier],
    ).step()
    model_files.save(module, SPEC, {}, tmp_path / "m")
    loaded, _, meta = model_files.load(tmp_path / "m")
    assert torch.equal(outputs_of(module.eval()), outputs_of(loaded))
    assert meta["parameters"] == sum(p.numel() for p in module.parameters())
    assert meta["parameters"] < sum(p.numel() for p in SPEC.build().parameters())
    for fresh, pruned in zip(loaded.modules(), module.modules(), strict=True):
        for key in ("in_channels", "out_channels", "in_features", "out_features", "num_features", "groups"):
            assert getattr(fresh, key, None) == getattr(pruned, key, None)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_keeps_its_shape_when_nothing_was_pruned(multiplier: int) -> None:
    layer = nn.Conv2d(4, 4 * multiplier, 3, groups=4)
    module, stored = nn.Sequential(copy.deepcopy(layer)), nn.Sequential(layer).state_dict()
    model_files.resize_layers(module, stored)
    module.load_state_dict(stored)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(module(x), layer(x))


def test_a_pruned_depthwise_convolution_takes_its_groups_from_the_weights() -> None:
    pruned = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3))
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    model_files.resize_layers(module, pruned.state_dict())
    module.load_state_dict(pruned.state_dict())
    x = torch.rand(1, 3, 5, 5)
    assert torch.equal(module(x), pruned(x))


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 8, 100, -1])
def test_weights_cut_short_are_refused(module: nn.Module, tmp_path: Path, length: int) -> None:
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


class Without(nn.Module):
    """A module whose state lacks one tensor, or has one too many."""

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
def test_whole_weights_that_do_not_fit_their_network_are_refused(
    module: nn.Module, tmp_path: Path, change: str
) -> None:
    model_files.save(Without(module, change), SPEC, {}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="does not fit network 'resnet8'"):
        model_files.load(tmp_path / "m")


def test_a_network_that_no_file_provides_is_refused_by_its_name(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, model_files.NetworkSpec("resnet9", {}, SHAPE, 10), {}, tmp_path / "m")
    with pytest.raises(UnknownNameError, match=r"unknown network 'resnet9'\. Did you mean 'resnet8'\?"):
        model_files.load(tmp_path / "m")


def test_the_old_model_stays_when_the_new_one_cannot_be_described(module: nn.Module, tmp_path: Path) -> None:
    model_files.save(module, SPEC, {"name": "old"}, tmp_path / "m")
    with pytest.raises(TypeError):
        model_files.save(module, SPEC, {"name": object()}, tmp_path / "m")
    assert directories.read_meta(tmp_path / "m")["name"] == "old"


# --- facts ---------------------------------------------------------------------------------------------------------


def test_a_convolutions_facts_are_those_worked_out_by_hand() -> None:
    # 3 → 8 channels, 3×3, stride 2, padding 1 on 10×10: the output is 5×5.
    facts = frameworks.compute_facts(nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 10, 10))
    assert facts.parameters == 3 * 8 * 9 + 8
    assert facts.macs == 5 * 5 * 8 * 3 * 9


def test_a_grouped_convolutions_multiplications_stay_within_its_groups() -> None:
    facts = frameworks.compute_facts(nn.Conv2d(4, 8, 3, groups=4, bias=False), (4, 6, 6))
    assert facts.parameters == 8 * 1 * 9
    assert facts.macs == 4 * 4 * 8 * 1 * 9


def test_a_linear_layers_facts_are_those_worked_out_by_hand() -> None:
    facts = frameworks.compute_facts(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2))
    assert facts.parameters == 12 * 5 + 5
    assert facts.macs == 12 * 5


def test_a_networks_multiplications_add_up_over_its_layers(module: nn.Module) -> None:
    # Stem and first block at 8×8, second block at 4×4 with its shortcut, linear layer.
    by_hand = 64 * 9 * (1 * 8 + 8 * 8 + 8 * 8) + 16 * (9 * (8 * 16 + 16 * 16) + 8 * 16) + 16 * 10
    assert frameworks.compute_facts(module, SHAPE).macs == by_hand


def test_sparsity_is_the_share_of_zeros_in_weight_tensors_alone() -> None:
    layer = nn.Linear(10, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, :7] = 0
        layer.weight[1, 0] = -0.0
        layer.bias.zero_()
    assert frameworks.compute_facts(layer, (10,)).weight_sparsity == 8 / 40


def test_the_entropy_coded_size_counts_coded_weights_plain_biases_and_the_statistics_of_normalizations() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))
    with torch.no_grad():
        module[0].weight.fill_(0.5)
        module[3].weight.zero_()
    one_value, nothing = HEADER_BYTES + 5, HEADER_BYTES
    by_hand = one_value + nothing + 4 * (8 + 4 * 8 + 5)
    assert frameworks.compute_facts(module, (3, 3, 3)).entropy_coded_bytes == by_hand
    assert frameworks.compute_facts(module.to(memory_format=torch.channels_last), (3, 3, 3)).entropy_coded_bytes == by_hand


def test_facts_leave_the_module_as_it_was(module: nn.Module) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    frameworks.compute_facts(module, SHAPE)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
