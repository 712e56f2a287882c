"""Prepare a task's data and load it. The test split has a directory of its own, which no build depends on.

data/<task>/build   train, validation and calibration samples: every model and export depends on it
data/<task>/test    the test split: only the bench stages depend on it

A split is stored as <split>_x.npy, further inputs as <split>_x1.npy and so on, and its targets as <split>_y.npy. If a
task groups its training samples, for example by person, train_groups.npy has the number of each sample's group. For a
task on the user's own data, task.json describes the task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.config.params import TaskParams
from edgeproof.core import plugins
from edgeproof.core.described_tasks import FILE as TASK_FILE
from edgeproof.core.described_tasks import TaskDescription, load_task
from edgeproof.core.directories import list_files, read_meta, write_atomically, write_json, write_meta
from edgeproof.core.errors import DataError
from edgeproof.data import sources
from edgeproof.data.task_checks import as_tuple, check_arrays, check_inputs, check_targets
from edgeproof.paths import DATA

Array = np.ndarray[Any, Any]

# Samples of each split that are preprocessed and checked when the data is prepared.
CHECKED_SAMPLES = 16
# The default number of training samples that calibrate static quantization; all of them if there are fewer.
DEFAULT_CALIBRATION_SAMPLES = 256
GROUPS = "train_groups.npy"


def prepare(task: TaskParams, root: Path = DATA) -> list[str]:
    """Fetch, verify, split and store the data of a task with a file of its own.

    Returns one line for each source that was skipped, with the reason.

    Raises DataError if no source works, or if there are fewer training samples than calibration samples.
    """
    plugin = plugins.load("tasks", task.name)
    files, reasons = _fetch_files(task, root / task.name)
    splits = plugin.data(files, validation_samples=task.validation_samples, seed=task.seed)
    store_splits(task, plugin, splits, root)
    return [f"skipped the source {reason}" for reason in reasons]


def store_splits(
    task: TaskParams, plugin: Any, splits: dict[str, Any], root: Path, description: TaskDescription | None = None
) -> None:
    """Check the splits of a task, and store them with the description of a task that has no file of its own.

    Raises DataError for splits that do not fit the task, or if there are fewer training samples than calibration
    samples.
    """
    _check_splits(task.name, plugin, splits)
    if task.train_samples is not None:
        splits["train"] = _draw_samples(splits["train"], task.train_samples, task.seed)
    builds = {name: splits[name] for name in ("train", "validation")}
    calibration = _draw_calibration(task, len(splits["train"][1]))
    _store(root / task.name / "build", task, builds, calibration, description)
    _store(root / task.name / "test", task, {"test": splits["test"]}, None, description)


def load_split(task: str, split: str, root: Path = DATA) -> tuple[tuple[Array, ...], Array]:
    """Return a split: a preprocessed array (N, *shape) for each input, and the targets (N, …). Classes are int64.

    Raises ArtifactError if the data is missing or damaged, and DataError if the task's file no longer fits it.
    """
    directory = _find_directory(task, split, root)
    plugin = load_task(task, root / task)
    inputs = _preprocess(task, plugin, [np.load(path, allow_pickle=False) for path in _list_inputs(directory, split)])
    targets: Array = np.load(directory / f"{split}_y.npy", allow_pickle=False)
    check_targets(task, plugin, targets, len(inputs[0]))
    return inputs, targets.astype(np.int64) if targets.dtype.kind in "iub" else targets


def load_groups(task: str, root: Path = DATA) -> Array | None:
    """Return the number of the group of each training sample (N,), or None if the task has no groups.

    Raises ArtifactError if the data is missing or damaged.
    """
    path = _find_directory(task, "train", root) / GROUPS
    return np.load(path, allow_pickle=False) if path.is_file() else None


def load_calibration(task: str, root: Path = DATA) -> tuple[Array, ...]:
    """Return the training samples that calibrate static quantization, an array (N, *shape) for each input.

    Raises ArtifactError if the data is missing or damaged, and DataError if the task's file no longer fits it.
    """
    directory = _find_directory(task, "train", root)
    indices = np.load(directory / "calibration.npy", allow_pickle=False)
    raw = [np.load(path, mmap_mode="r", allow_pickle=False)[indices] for path in _list_inputs(directory, "train")]
    return _preprocess(task, load_task(task, root / task), raw)


def _fetch_files(task: TaskParams, directory: Path) -> tuple[dict[str, Path], list[str]]:
    """Fetch each group of a task's files into its own folder. Return their paths and why sources were skipped."""
    paths: dict[str, Path] = {}
    reasons: list[str] = []
    for number, group in enumerate(task.list_file_groups(), 1):
        folder = directory / ("source" if number == 1 else f"source_{number}")
        if not sources.is_intact(folder, group.sources, group.files):
            reasons += sources.fetch(task.name, group.sources, group.files, folder)
        paths |= {name: folder / name for name in list_files(folder)}
    return paths, reasons


def _draw_calibration(task: TaskParams, samples: int) -> Array:
    """Draw the indices of the calibration samples. Raises DataError if there are fewer training samples than wanted."""
    wanted = task.calibration_samples or min(DEFAULT_CALIBRATION_SAMPLES, samples)
    if wanted > samples:
        raise DataError(
            f"task '{task.name}' has {samples} training samples, fewer than calibration_samples {wanted}. Lower it in "
            f"conf/tasks/{task.name}.yaml."
        )
    return np.sort(np.random.default_rng(task.seed).permutation(samples)[:wanted])


def _draw_samples(split: tuple[Any, ...], limit: int, seed: int) -> tuple[Any, ...]:
    """Return at most `limit` samples of a split, drawn with the seed, in their original order."""
    inputs, *others = split
    rows = np.sort(np.random.default_rng(seed).permutation(len(others[0]))[:limit])
    return (tuple(array[rows] for array in as_tuple(inputs)), *(array[rows] for array in others))


def _preprocess(task: str, plugin: Any, raw: list[Array]) -> tuple[Array, ...]:
    inputs = as_tuple(plugin.preprocess(raw[0] if len(raw) == 1 else tuple(raw)))
    check_inputs(task, plugin.INPUTS, inputs)
    return inputs


def _list_inputs(directory: Path, split: str) -> list[Path]:
    """Return the files of a split's inputs, in the order of the task's inputs."""
    further = sorted(directory.glob(f"{split}_x[0-9]*.npy"), key=lambda path: int(path.stem.rpartition("x")[2]))
    return [directory / f"{split}_x.npy", *further]


def _check_splits(task: str, plugin: Any, splits: dict[str, Any]) -> None:
    """Check what a task's data() returned. Raises DataError for a missing split, or one that does not fit the task."""
    missing = {"train", "validation", "test"} - set(splits)
    if missing:
        raise DataError(f"data() of task '{task}' returns no split {', '.join(sorted(missing))}.")
    for name, (inputs, targets, *groups) in splits.items():
        raw = as_tuple(inputs)
        check_arrays(task, name, (*raw, targets, *groups))
        _preprocess(task, plugin, [array[:CHECKED_SAMPLES] for array in raw])
        check_targets(task, plugin, targets, len(raw[0]))


def _find_directory(task: str, split: str, root: Path) -> Path:
    directory = root / task / ("test" if split == "test" else "build")
    read_meta(directory)
    return directory


def _store(
    directory: Path,
    task: TaskParams,
    splits: dict[str, Any],
    calibration: Array | None,
    description: TaskDescription | None,
) -> None:
    with write_atomically(directory) as out:
        for name, (inputs, targets, *groups) in splits.items():
            for number, array in enumerate(as_tuple(inputs)):
                np.save(out / f"{name}_x{number or ''}.npy", np.ascontiguousarray(array))
            np.save(out / f"{name}_y.npy", np.ascontiguousarray(targets))
            if name == "train" and groups:  # numbers are stored: nothing needs the names of persons
                np.save(out / GROUPS, np.unique(groups[0], return_inverse=True)[1].astype(np.int64))
        if calibration is not None:
            np.save(out / "calibration.npy", calibration)
        if description is not None:
            write_json(out / TASK_FILE, description.to_json())
        write_meta(out, {"task": task.name, "samples": {name: len(split[1]) for name, split in splits.items()}})
