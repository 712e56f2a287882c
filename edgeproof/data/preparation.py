"""A task's prepared data: what building may see in one directory, the test split in another.

data/<task>/build   train, validation and calibration samples: every model and export depends on it
data/<task>/test    the test split: only bench depends on it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.config.params import TaskParams
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, sha256_of, write_meta, written_whole
from edgeproof.core.errors import DataError
from edgeproof.data import sources
from edgeproof.paths import DATA

Array = np.ndarray[Any, Any]


def prepare(task: TaskParams, root: Path = DATA) -> list[str]:
    """Fetch, verify, split and store a task's data. Returns why earlier sources were passed over."""
    plugin = plugins.load("tasks", task.name)
    fetched = root / task.name / "source"
    reasons = [] if _intact(fetched, task) else _fetch(task, fetched)
    files = {name: fetched / name for name in task.files}
    splits = plugin.data(files, validation_samples=task.validation_samples, seed=task.seed)
    if task.calibration_samples > len(splits["train"][0]):
        raise DataError(
            f"task '{task.name}' has {len(splits['train'][0])} training samples, fewer than calibration_samples "
            f"{task.calibration_samples}. Lower it in conf/tasks/{task.name}.yaml."
        )
    chosen = np.random.default_rng(task.seed).permutation(len(splits["train"][0]))[: task.calibration_samples]
    _store(root / task.name / "build", task, {name: splits[name] for name in ("train", "validation")}, np.sort(chosen))
    _store(root / task.name / "test", task, {"test": splits["test"]}, None)
    return reasons


def load(task: str, split: str, root: Path = DATA) -> tuple[Array, Array]:
    """One split as the network sees it: float32 inputs (N, *input_shape) and int64 labels (N,)."""
    directory = _directory(task, split, root)
    plugin = plugins.load("tasks", task)
    inputs: Array = plugin.preprocess(np.load(directory / f"{split}_x.npy", allow_pickle=False))
    return inputs, np.load(directory / f"{split}_y.npy", allow_pickle=False).astype(np.int64)


def calibration(task: str, root: Path = DATA) -> Array:
    """The training samples that static quantization may see, float32 (N, *input_shape)."""
    directory = _directory(task, "train", root)
    chosen = np.load(directory / "calibration.npy", allow_pickle=False)
    raw = np.load(directory / "train_x.npy", mmap_mode="r", allow_pickle=False)[chosen]
    inputs: Array = plugins.load("tasks", task).preprocess(raw)
    return inputs


def _directory(task: str, split: str, root: Path) -> Path:
    directory = root / task / ("test" if split == "test" else "build")
    read_meta(directory)
    return directory


def _intact(directory: Path, task: TaskParams) -> bool:
    return all((directory / n).is_file() and sha256_of(directory / n) == s for n, s in task.files.items())


def _fetch(task: TaskParams, into: Path) -> list[str]:
    return sources.fetch(task.name, [source.model_dump() for source in task.sources], task.files, into)


def _store(directory: Path, task: TaskParams, splits: dict[str, tuple[Array, Array]], chosen: Array | None) -> None:
    with written_whole(directory) as out:
        for name, (x, y) in splits.items():
            np.save(out / f"{name}_x.npy", np.ascontiguousarray(x))
            np.save(out / f"{name}_y.npy", np.ascontiguousarray(y))
        if chosen is not None:
            np.save(out / "calibration.npy", chosen)
        write_meta(out, {"task": task.name, "samples": {name: len(y) for name, (_, y) in splits.items()}})
