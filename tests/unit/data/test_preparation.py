"""Prepared data: the test split is apart from the data of builds, and damage is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.config.params import TaskParams
from edgeproof.core import directories, plugins
from edgeproof.core.errors import ArtifactError, DataError
from edgeproof.data import preparation
from tests.support import idx_files


@pytest.fixture
def task(tmp_path: Path) -> TaskParams:
    """Return a small Fashion-MNIST: every pixel of image i of a split has the value i."""
    source = tmp_path / "source"
    source.mkdir()
    for split, count in (("train", 40), ("t10k", 9)):
        images = np.repeat(np.arange(count), 28 * 28).reshape(-1, 28, 28)
        (source / f"{split}-images-idx3-ubyte").write_bytes(idx_files.encode(images))
        (source / f"{split}-labels-idx1-ubyte").write_bytes(idx_files.encode(np.arange(count) % 10))
    return make_task(source)


def make_task(source: Path, **changes: Any) -> TaskParams:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(source.iterdir())}
    plain = {
        "name": "fashion_mnist",
        "sources": [{"kind": "folder", "path": str(source)}],
        "files": files,
        "validation_samples": 10,
        "calibration_samples": 6,
        "quality_target": 0.9,
        "seed": 0,
    }
    return TaskParams.model_validate({**plain, **changes})


def decode_numbers(inputs: np.ndarray) -> list[int]:
    return [round(float(image.mean() * 0.3530 + 0.2860) * 255) for image in inputs]


def test_splits_are_loaded_preprocessed(task: TaskParams, tmp_path: Path) -> None:
    root = tmp_path / "data"
    assert preparation.prepare(task, root) == []
    splits = {name: preparation.load_split(task.name, name, root) for name in ("train", "validation", "test")}
    for (inputs,), labels in splits.values():
        assert inputs.dtype == np.float32
        assert inputs.shape[1:] == (1, 28, 28)
        assert labels.dtype == np.int64
        assert [number % 10 for number in decode_numbers(inputs)] == labels.tolist()
    assert sorted(decode_numbers(splits["train"][0][0]) + decode_numbers(splits["validation"][0][0])) == list(range(40))
    assert decode_numbers(splits["test"][0][0]) == list(range(9))


def test_groups_of_training_samples_are_stored_as_numbers_beside_their_samples(
    task: TaskParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    preparation.prepare(task, root)
    assert preparation.load_groups(task.name, root) is None
    plugin = plugins.load("tasks", task.name)
    read = plugin.data

    def name_persons(files: dict[str, Path], **settings: int) -> dict[str, tuple[np.ndarray, ...]]:
        splits = read(files, **settings)
        images, labels = splits["train"]
        return splits | {"train": (images, labels, np.array([f"person {image.mean() % 7}" for image in images]))}

    monkeypatch.setattr(plugin, "data", name_persons)
    preparation.prepare(task.model_copy(update={"train_samples": 20}), root)
    (inputs,), _ = preparation.load_split(task.name, "train", root)
    groups = preparation.load_groups(task.name, root)
    assert groups is not None
    persons = [number % 7 for number in decode_numbers(inputs)]
    assert len(persons) == len(groups) == 20
    assert len(set(zip(persons, groups.tolist(), strict=True))) == len(set(persons)) == len(set(groups.tolist()))


def test_the_data_of_builds_has_no_test_samples(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    build = directories.read_meta(tmp_path / "data" / task.name / "build")
    test = directories.read_meta(tmp_path / "data" / task.name / "test")
    assert not any("test" in name for name in build["files"])
    assert build["samples"] == {"train": 30, "validation": 10}
    assert test["samples"] == {"test": 9}


def test_calibration_samples_are_the_requested_number_of_training_samples(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    calibration = decode_numbers(preparation.load_calibration(task.name, tmp_path / "data")[0])
    assert len(set(calibration)) == len(calibration) == 6
    assert set(calibration) <= set(decode_numbers(preparation.load_split(task.name, "train", tmp_path / "data")[0][0]))


def test_preparation_is_reproducible_and_depends_on_the_seed(task: TaskParams, tmp_path: Path) -> None:
    hashes = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        preparation.prepare(task.model_copy(update={"seed": seed}), tmp_path / place)
        hashes.append(directories.content_sha256(directories.read_meta(tmp_path / place / task.name / "build")))
    assert hashes[0] == hashes[1] != hashes[2]


def test_intact_files_are_not_fetched_again(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    unreachable = task.model_copy(
        update={"sources": make_task(tmp_path / "source", sources=[{"kind": "folder", "path": "/nowhere"}]).sources}
    )
    assert preparation.prepare(unreachable, tmp_path / "data") == []
    labels = next(path for path in (tmp_path / "data").rglob("t10k-labels-idx1-ubyte"))
    labels.write_bytes(labels.read_bytes() + b"\0")
    with pytest.raises(DataError, match="no source of task"):
        preparation.prepare(unreachable, tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"calibration_samples": 31}, "calibration_samples"), ({"validation_samples": 40}, "training samples")],
)
def test_more_samples_than_the_task_has_are_a_data_error(
    task: TaskParams, tmp_path: Path, changes: Any, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        preparation.prepare(task.model_copy(update=changes), tmp_path / "data")


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_and_damaged_data_is_an_artifact_error(task: TaskParams, tmp_path: Path, split: str) -> None:
    with pytest.raises(ArtifactError, match="never built"):
        preparation.load_split(task.name, split, tmp_path / "data")
    preparation.prepare(task, tmp_path / "data")
    path = next((tmp_path / "data").rglob(f"{split}_x.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        preparation.load_split(task.name, split, tmp_path / "data")
