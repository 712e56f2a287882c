"""The contract of networks and tasks, checked for each one in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.core import plugins
from edgeproof.models.model_files import resize_layers
from tests.support import idx_files
from tests.support.tiny_networks import list_torch_plugins

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("name", list_torch_plugins("networks"))
def test_a_network_outputs_a_logit_for_each_class_and_takes_its_widths_from_stored_weights(name: str) -> None:
    options = yaml.safe_load((CONF / "networks" / f"{name}.yaml").read_text())["options"]
    network = plugins.load("networks", name)
    built = network.build((1, 28, 28), 7, **options).eval()
    assert built(torch.zeros(3, 1, 28, 28)).shape == (3, 7)
    again = network.build((1, 28, 28), 7, **options)
    resize_layers(again, built.state_dict())
    again.load_state_dict(built.state_dict())
    assert torch.equal(again.eval()(torch.ones(1, 1, 28, 28)), built(torch.ones(1, 1, 28, 28)))


def write_digits(folder: Path) -> dict[str, Path]:
    rows = np.random.default_rng(0).integers(0, 10, (900, 65))
    np.savetxt(folder / "digits.csv", rows, delimiter=",", fmt="%d")
    return {"digits.csv": folder / "digits.csv"}


def write_fashion_mnist(folder: Path) -> dict[str, Path]:
    files = {}
    for split, count in (("train", 60), ("t10k", 20)):
        images, labels = folder / f"{split}-images-idx3-ubyte", folder / f"{split}-labels-idx1-ubyte"
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        images.write_bytes(idx_files.encode(pixels))
        labels.write_bytes(idx_files.encode(np.arange(count) % 10))
        files |= {images.name: images, labels.name: labels}
    return files


WRITERS = {"digits": write_digits, "fashion_mnist": write_fashion_mnist}


@pytest.mark.parametrize("name", plugins.list_names("tasks"))
def test_a_task_has_disjoint_splits_that_depend_only_on_the_seed(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    files = WRITERS[name](tmp_path)
    splits = task.data(files, validation_samples=10, seed=3)
    again = task.data(files, validation_samples=10, seed=3)
    assert set(splits) == {"train", "validation", "test"}
    assert len(splits["validation"][0]) == 10
    samples = [sample.tobytes() for x, _ in splits.values() for sample in x]
    assert len(set(samples)) == len(samples)
    for split, (x, y) in splits.items():
        assert x.shape == (len(y), *task.INPUT_SHAPE)
        np.testing.assert_array_equal(x, again[split][0])


@pytest.mark.parametrize("name", plugins.list_names("tasks"))
def test_a_task_scores_the_highest_output_and_its_views_keep_the_shape(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    x, y = task.data(WRITERS[name](tmp_path), validation_samples=10, seed=0)["test"]
    inputs = torch.from_numpy(task.preprocess(x))
    assert inputs.dtype == torch.float32
    assert torch.equal(task.view(inputs.clone(), 0), inputs)
    for k in range(1, task.VIEWS):
        assert task.view(inputs.clone(), k).shape == inputs.shape
        assert not torch.equal(task.view(inputs.clone(), k), inputs)
    outputs = np.eye(task.CLASSES, dtype=np.float32)[y.astype(int)]
    assert task.score(outputs, y).all()
    assert not task.score(np.roll(outputs, 1, axis=1), y).any()
