"""The contract of networks and tasks, checked for each one in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproof.core import plugins
from edgeproof.data.task_checks import as_tuple, check_inputs, check_targets, is_classification
from edgeproof.data.task_quality import load_task_quality
from edgeproof.models.layer_sizes import resize_layers
from edgeproof.models.training_task import make_examples
from tests.support import idx_files
from tests.support.network_kinds import draw_inputs, find_kind
from tests.support.tiny_networks import list_torch_plugins, read_default_options


@pytest.mark.parametrize("name", list_torch_plugins("networks"))
def test_a_network_gives_the_declared_outputs_and_takes_its_widths_from_stored_weights(name: str) -> None:
    options = read_default_options("networks", name)
    network, (inputs, outputs) = plugins.load("networks", name), find_kind(name).sizes[0]
    built = network.build(inputs, outputs, **options).eval()
    answers = as_tuple(built(*make_examples(inputs, 3)))
    assert [tuple(answer.shape) for answer in answers] == [(3, *port.shape) for port in outputs]
    again = network.build(inputs, outputs, **options)
    resize_layers(again, built.state_dict())
    again.load_state_dict(built.state_dict())
    samples = draw_inputs(inputs, 1)
    for ours, theirs in zip(as_tuple(again.eval()(*samples)), as_tuple(built(*samples)), strict=True):
        assert torch.equal(ours, theirs)


def write_files(name: str, folder: Path) -> dict[str, Path]:
    """Write the files that a task's data() reads: those of its own fixture(), or those of the table below."""
    task = plugins.load("tasks", name)
    if hasattr(task, "fixture"):
        contents = task.fixture()
    else:
        assert name in FIXTURES, f"task '{name}' needs a function fixture() -> dict[str, bytes] with tiny files"
        contents = FIXTURES[name]()
    for file, content in contents.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return {file: folder / file for file in contents}


def make_digits() -> dict[str, bytes]:
    rows = np.random.default_rng(0).integers(0, 10, (900, 65))
    return {"digits.csv": "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()}


def make_fashion_mnist() -> dict[str, bytes]:
    files = {}
    for split, count in (("train", 60), ("t10k", 20)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        files[f"{split}-images-idx3-ubyte"] = idx_files.encode(pixels)
        files[f"{split}-labels-idx1-ubyte"] = idx_files.encode(np.arange(count) % 10)
    return files


FIXTURES = {"digits": make_digits, "fashion_mnist": make_fashion_mnist}
TASKS = plugins.list_names("tasks")
CLASSIFICATIONS = [name for name in TASKS if is_classification(plugins.load("tasks", name))]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_disjoint_splits_that_depend_only_on_the_seed(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    files = write_files(name, tmp_path)
    splits = task.data(files, validation_samples=10, seed=3)
    again = task.data(files, validation_samples=10, seed=3)
    assert set(splits) == {"train", "validation", "test"}
    assert len(splits["validation"][1]) == 10
    rows = [row for x, *_ in splits.values() for row in zip(*as_tuple(x), strict=True)]
    samples = [b"".join(part.tobytes() for part in row) for row in rows]
    assert len(set(samples)) == len(samples)
    for split, (x, y, *groups) in splits.items():
        assert all(len(owners) == len(y) for owners in groups)
        for array, repeated in zip(as_tuple(x), as_tuple(again[split][0]), strict=True):
            assert len(array) == len(y)
            np.testing.assert_array_equal(array, repeated)
        np.testing.assert_array_equal(y, again[split][1])


@pytest.mark.parametrize("name", TASKS)
def test_the_data_of_a_task_fits_what_it_declares(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    for x, y, *_ in task.data(write_files(name, tmp_path), validation_samples=10, seed=0).values():
        check_inputs(name, task.INPUTS, as_tuple(task.preprocess(x)))
        check_targets(name, task, y, len(y))


@pytest.mark.parametrize("name", TASKS)
def test_the_views_of_a_task_keep_shapes_and_the_first_is_the_sample_itself(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    x, _ = task.data(write_files(name, tmp_path), validation_samples=10, seed=0)["test"]
    inputs = tuple(map(torch.from_numpy, as_tuple(task.preprocess(x))))

    def view(k: int) -> tuple[torch.Tensor, ...]:
        copies = tuple(tensor.clone() for tensor in inputs)
        return as_tuple(task.view(copies if len(copies) > 1 else copies[0], k))

    assert all(torch.equal(*pair) for pair in zip(view(0), inputs, strict=True))
    for k in range(1, task.VIEWS):
        assert [tensor.shape for tensor in view(k)] == [tensor.shape for tensor in inputs]
        assert not all(torch.equal(*pair) for pair in zip(view(k), inputs, strict=True))


@pytest.mark.parametrize("name", CLASSIFICATIONS)
def test_a_classification_is_perfect_for_its_labels_and_wrong_for_others(name: str, tmp_path: Path) -> None:
    task = plugins.load("tasks", name)
    _, y = task.data(write_files(name, tmp_path), validation_samples=10, seed=0)["test"]
    outputs = np.eye(task.OUTPUTS[0].size, dtype=np.float32)[y.astype(int)]
    quality = load_task_quality(name, "accuracy")
    assert quality.measure((), (outputs,), y.astype(np.int64)) == 1.0
    assert quality.measure((), (np.roll(outputs, 1, axis=1),), y.astype(np.int64)) == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_a_task_names_existing_metrics(name: str) -> None:
    metrics = plugins.load("tasks", name).METRICS
    assert metrics
    assert set(metrics) <= set(plugins.list_names("metrics"))
