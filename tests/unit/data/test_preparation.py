"""Prepared data: what building may see in one directory, the test split in another, nothing silently damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.config.params import TaskParams
from edgeproof.core import directories
from edgeproof.core.errors import ArtifactError, DataError
from edgeproof.data import preparation
from tests.unit.tasks.test_tasks import idx


@pytest.fixture
def task(tmp_path: Path) -> TaskParams:
    """Fashion-MNIST's files in miniature: image i of each split is full of i."""
    source = tmp_path / "source"
    source.mkdir()
    for split, count in (("train", 40), ("t10k", 9)):
        images = np.repeat(np.arange(count), 28 * 28).reshape(-1, 28, 28)
        (source / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (source / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return make(source)


def make(source: Path, **changes: Any) -> TaskParams:
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


def numbers(inputs: np.ndarray) -> list[int]:
    return [round(float(image.mean() * 0.3530 + 0.2860) * 255) for image in inputs]


def test_splits_come_back_as_the_network_sees_them(task: TaskParams, tmp_path: Path) -> None:
    root = tmp_path / "data"
    assert preparation.prepare(task, root) == []
    splits = {name: preparation.load(task.name, name, root) for name in ("train", "validation", "test")}
    for inputs, labels in splits.values():
        assert inputs.dtype == np.float32
        assert inputs.shape[1:] == (1, 28, 28)
        assert labels.dtype == np.int64
        assert [number % 10 for number in numbers(inputs)] == labels.tolist()
    assert sorted(numbers(splits["train"][0]) + numbers(splits["validation"][0])) == list(range(40))
    assert numbers(splits["test"][0]) == list(range(9))


def test_what_building_depends_on_holds_nothing_of_the_test_split(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    build = directories.read_meta(tmp_path / "data" / task.name / "build")
    test = directories.read_meta(tmp_path / "data" / task.name / "test")
    assert not any("test" in name for name in build["files"])
    assert build["samples"] == {"train": 30, "validation": 10}
    assert test["samples"] == {"test": 9}


def test_calibration_samples_are_training_samples_as_many_as_asked_for(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    chosen = numbers(preparation.calibration(task.name, tmp_path / "data"))
    assert len(set(chosen)) == len(chosen) == 6
    assert set(chosen) <= set(numbers(preparation.load(task.name, "train", tmp_path / "data")[0]))


def test_preparing_is_the_same_to_the_byte_and_depends_on_the_seed(task: TaskParams, tmp_path: Path) -> None:
    identities = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        preparation.prepare(task.model_copy(update={"seed": seed}), tmp_path / place)
        identities.append(directories.identity(directories.read_meta(tmp_path / place / task.name / "build")))
    assert identities[0] == identities[1] != identities[2]


def test_files_that_were_fetched_intact_are_not_fetched_again(task: TaskParams, tmp_path: Path) -> None:
    preparation.prepare(task, tmp_path / "data")
    gone = task.model_copy(
        update={"sources": make(tmp_path / "source", sources=[{"kind": "folder", "path": "/nowhere"}]).sources}
    )
    assert preparation.prepare(gone, tmp_path / "data") == []
    fetched = next(path for path in (tmp_path / "data").rglob("t10k-labels-idx1-ubyte"))
    fetched.write_bytes(fetched.read_bytes() + b"\0")
    with pytest.raises(DataError, match="no source of task"):
        preparation.prepare(gone, tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"calibration_samples": 31}, "calibration_samples"), ({"validation_samples": 40}, "training samples")],
)
def test_more_samples_than_there_are_is_refused(task: TaskParams, tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        preparation.prepare(task.model_copy(update=changes), tmp_path / "data")


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_that_was_never_prepared_or_is_damaged_is_refused(task: TaskParams, tmp_path: Path, split: str) -> None:
    with pytest.raises(ArtifactError, match="never built"):
        preparation.load(task.name, split, tmp_path / "data")
    preparation.prepare(task, tmp_path / "data")
    path = next((tmp_path / "data").rglob(f"{split}_x.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        preparation.load(task.name, split, tmp_path / "data")
