"""Prepare a task's data and load it. The test split has a directory of its own, which no build depends on.

data/<task>/build   train, validation and calibration samples: every model and export depends on it
data/<task>/test    the test split: only the bench stages depend on it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.config.params import TaskParams
from edgeproof.core import plugins
from edgeproof.core.directories import hash_file, read_meta, write_atomically, write_meta
from edgeproof.core.errors import DataError
from edgeproof.data import sources
from edgeproof.paths import DATA

Array = np.ndarray[Any, Any]


def prepare(task: TaskParams, root: Path = DATA) -> list[str]:
    """Fetch, verify, split and store a task's data. Return the reasons why sources were skipped.

    Raises DataError if no source works, or if there are fewer training samples than calibration samples.
    """
    plugin = plugins.load("tasks", task.name)
    directory = root / task.name / "source"
    reasons = [] if _is_intact(directory, task) else sources.fetch(task.name, task.sources, task.files, directory)
    files = {name: directory / name for name in task.files}
    splits = plugin.data(files, validation_samples=task.validation_samples, seed=task.seed)
    if task.calibration_samples > len(splits["train"][0]):
        raise DataError(
            f"task '{task.name}' has {len(splits['train'][0])} training samples, fewer than calibration_samples "
            f"{task.calibration_samples}. Lower it in conf/tasks/{task.name}.yaml."
        )
    order = np.random.default_rng(task.seed).permutation(len(splits["train"][0]))
    calibration = np.sort(order[: task.calibration_samples])
    _store(root / task.name / "build", task, {name: splits[name] for name in ("train", "validation")}, calibration)
    _store(root / task.name / "test", task, {"test": splits["test"]}, None)
    return reasons


def load_split(task: str, split: str, root: Path = DATA) -> tuple[Array, Array]:
    """Return a split, preprocessed: float32 inputs (N, *input_shape) and int64 labels (N,).

    Raises ArtifactError if the data is missing or damaged.
    """
    directory = _find_directory(task, split, root)
    plugin = plugins.load("tasks", task)
    inputs: Array = plugin.preprocess(np.load(directory / f"{split}_x.npy", allow_pickle=False))
    return inputs, np.load(directory / f"{split}_y.npy", allow_pickle=False).astype(np.int64)


def load_calibration(task: str, root: Path = DATA) -> Array:
    """Return the training samples that calibrate static quantization, float32 (N, *input_shape).

    Raises ArtifactError if the data is missing or damaged.
    """
    directory = _find_directory(task, "train", root)
    indices = np.load(directory / "calibration.npy", allow_pickle=False)
    raw = np.load(directory / "train_x.npy", mmap_mode="r", allow_pickle=False)[indices]
    inputs: Array = plugins.load("tasks", task).preprocess(raw)
    return inputs


def _find_directory(task: str, split: str, root: Path) -> Path:
    directory = root / task / ("test" if split == "test" else "build")
    read_meta(directory)
    return directory


def _is_intact(directory: Path, task: TaskParams) -> bool:
    return all((directory / n).is_file() and hash_file(directory / n) == s for n, s in task.files.items())


def _store(
    directory: Path, task: TaskParams, splits: dict[str, tuple[Array, Array]], calibration: Array | None
) -> None:
    with write_atomically(directory) as out:
        for name, (x, y) in splits.items():
            np.save(out / f"{name}_x.npy", np.ascontiguousarray(x))
            np.save(out / f"{name}_y.npy", np.ascontiguousarray(y))
        if calibration is not None:
            np.save(out / "calibration.npy", calibration)
        write_meta(out, {"task": task.name, "samples": {name: len(y) for name, (_, y) in splits.items()}})
