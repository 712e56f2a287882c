"""The method fine_tune: published weights are renamed, checked and loaded, then trained."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError, DataError
from edgeproof.methods import fine_tune
from edgeproof.models.training import make_deterministic
from edgeproof.models.training_task import TrainingTask, compute_outputs
from tests.support.network_kinds import make_random_task
from tests.support.tiny_networks import build_tiny_module

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

RECIPE = {"epochs": 0, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 0}
ENCODER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "perceptron.widen",
    "output.dense": "perceptron.narrow",
    "output.LayerNorm": "norm2",
}
EMBEDDINGS = {
    "word_embeddings": "words",
    "position_embeddings": "positions",
    "token_type_embeddings": "kinds",
    "LayerNorm": "norm",
}

Options = Callable[..., dict[str, Any]]


@pytest.fixture
def task() -> TrainingTask:
    return make_random_task("bert")


def publish(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of a bert of one block under their published names, with more positions and no classifier."""
    state = module.state_dict()
    tensors = {
        f"encoder.layer.0.{theirs}.{kind}": state[f"blocks.0.{ours}.{kind}"]
        for theirs, ours in ENCODER.items()
        for kind in ("weight", "bias")
    }
    for theirs, ours in EMBEDDINGS.items():
        for kind in ("weight", "bias") if theirs == "LayerNorm" else ("weight",):
            tensors[f"embeddings.{theirs}.{kind}"] = state[f"embedding.{ours}.{kind}"]
    more = torch.randn(5, state["embedding.positions.weight"].shape[1])
    tensors["embeddings.position_embeddings.weight"] = torch.cat([state["embedding.positions.weight"], more])
    return tensors | {"pooler.dense.weight": torch.zeros(2, 2)}


@pytest.fixture
def write_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Return a function that writes a file of weights and returns the options that load it."""
    monkeypatch.chdir(tmp_path)

    def write(tensors: dict[str, torch.Tensor] | bytes, **changes: Any) -> dict[str, Any]:
        path = tmp_path / "published" / "model.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tensors if isinstance(tensors, bytes) else safetensors.torch.save(tensors))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        sources = [{"kind": "folder", "path": str(path.parent)}]
        return RECIPE | {"sources": sources, "file": path.name, "sha256": sha256, "new": ["classifier."]} | changes

    return write


def build_other() -> nn.Module:
    """Return a bert with other weights than build_tiny_module("bert")."""
    module = build_tiny_module("bert")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(parameter.numel()))
    return module


def test_published_tensors_are_loaded_under_the_names_of_the_network(
    task: TrainingTask, write_options: Options
) -> None:
    published, model = build_other(), build_tiny_module("bert")
    classifier = model.classifier.weight.clone()
    result = fine_tune.apply(model, task, **write_options(publish(published)))
    assert torch.equal(result.classifier.weight, classifier)
    published.classifier.load_state_dict(model.classifier.state_dict())
    torch.testing.assert_close(
        compute_outputs(result, task.train.inputs), compute_outputs(published, task.train.inputs)
    )


def test_training_starts_from_the_published_weights_and_is_reproducible(
    task: TrainingTask, write_options: Options
) -> None:
    options = write_options(publish(build_other())) | {"epochs": 1}
    results = []
    for _ in range(2):
        model = build_tiny_module("bert")
        make_deterministic(0, 1)
        results.append(fine_tune.apply(model, task, **options).state_dict())
    start = build_other().state_dict()["embedding.words.weight"]
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert 0 < (results[0]["embedding.words.weight"] - start).abs().max() < 0.05


def test_a_network_without_translation_takes_its_own_names(write_options: Options) -> None:
    source = build_tiny_module("mlp")
    state = {name: tensor + 1 for name, tensor in source.state_dict().items()}
    result = fine_tune.apply(build_tiny_module("mlp"), make_random_task("mlp"), **write_options(state, new=[]))
    assert all(torch.equal(tensor, state[name]) for name, tensor in result.state_dict().items())


def test_a_tensor_of_another_name_is_named_with_the_nearest(task: TrainingTask, write_options: Options) -> None:
    tensors = publish(build_other())
    tensors["encoder.layer.1.attention.self.query.weight"] = tensors.pop("encoder.layer.0.attention.self.query.weight")
    with pytest.raises(ConfigError) as failure:
        fine_tune.apply(build_tiny_module("bert"), task, **write_options(tensors))
    message = str(failure.value)
    assert "it has no 'blocks.0.attention.query.weight' 16×16; the nearest is 'blocks.1.attention.query" in message
    assert "the network has no 'blocks.1.attention.query.weight'; the nearest is 'blocks.0.attention.query" in message


def test_a_tensor_of_another_shape_is_named_with_both_shapes(task: TrainingTask, write_options: Options) -> None:
    tensors = publish(build_other())
    tensors["embeddings.word_embeddings.weight"] = torch.zeros(9, 16)
    with pytest.raises(ConfigError, match=r"'embedding\.words\.weight' is 9×16 in the file and 8×16 in the network"):
        fine_tune.apply(build_tiny_module("bert"), task, **write_options(tensors))


def test_a_missing_classifier_must_be_declared_as_new(task: TrainingTask, write_options: Options) -> None:
    with pytest.raises(ConfigError, match=r"it has no 'classifier\.bias' 10"):
        fine_tune.apply(build_tiny_module("bert"), task, **write_options(publish(build_other()), new=[]))


def test_pickled_weights_are_never_opened(task: TrainingTask, write_options: Options, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    with pytest.raises(DataError, match="no safetensors file"):
        fine_tune.apply(build_tiny_module("bert"), task, **write_options(pickle.dumps(Trap())))
    assert not (tmp_path / "touched").exists()


def test_altered_weights_are_refused_with_the_settings_to_change(task: TrainingTask, write_options: Options) -> None:
    with pytest.raises(DataError, match=r"(?s)has sha256.*conf/methods/fine_tune.yaml"):
        fine_tune.apply(build_tiny_module("bert"), task, **write_options(publish(build_other()), sha256="0" * 64))


@pytest.mark.parametrize(
    "wrong",
    [{"file": "model.pt"}, {"file": "../model.safetensors"}, {"sources": []}, {"sha256": "1"}, {"new": [""]}],
)
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any], write_options: Options) -> None:
    with pytest.raises(ValidationError):
        fine_tune.Options.model_validate(write_options({}) | wrong)
