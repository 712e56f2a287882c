"""Activity recognition: six activities in 2.56 s of the accelerometer and gyroscope of a phone at the waist (UCI HAR).

Anguita et al.: "A Public Domain Dataset for Human Activity Recognition Using Smartphones" (2013). The nine test persons
are in no other split, and neither are the persons of the validation split. Two sets of files are accepted:

- the official archive, whose signals are filtered against noise;
- uci_har_raw.npz: the unfiltered signals of the same persons (Reyes-Ortiz et al., 2015) as integers.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port
from edgeproof.core.splits import split_groups

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

ACTIVITIES = ("walking", "walking_upstairs", "walking_downstairs", "sitting", "standing", "laying")
WINDOW_STEPS = 128  # at 50 Hz
CHANNELS = 6

# Channels, time, and one column, so that networks for images take it too.
INPUTS = (Port("motion", (CHANNELS, WINDOW_STEPS, 1)),)
OUTPUTS = (Port("logits", (len(ACTIVITIES),)),)
METRICS = ("macro_f1", "accuracy")
VIEWS = 1

ARCHIVE, SIGNALS = "UCI HAR Dataset.zip", "uci_har_raw.npz"
COUNTS_PER_G = 720.0
RADIANS_PER_COUNT = 0.0175 * math.pi / 180
TEST_PERSONS = (2, 4, 9, 10, 12, 13, 18, 20, 24)
# Gravity is 1 g, and most rotations stay below this rate.
GYROSCOPE_RANGE = 2.0  # rad/s
MAX_TURN = 0.35  # rad; persons do not wear the phone at the same angle
MAX_GAIN = 0.1

Windows = tuple[Array, Array, Array]  # signals (N, 6, 128) in g and rad/s, activities (N,) and persons (N,)


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, ...]]:
    """Read one of the two sets of files, and split validation windows off the training windows by person and `seed`.

    Returns float32 signals (N, 6, 128) in g and rad/s, and activities (N,) of train, validation and test, for train
    with the persons (N,). Raises DataError for a file of another format.
    """
    signals, activities, persons = _read_signals(files[SIGNALS]) if SIGNALS in files else _read_archive(files[ARCHIVE])
    is_test = np.isin(persons, TEST_PERSONS)
    known = np.flatnonzero(~is_test)
    train, validation = split_groups(persons[known], validation_samples, seed)
    rows = {"train": known[train], "validation": known[validation], "test": np.flatnonzero(is_test)}
    splits: dict[str, tuple[Array, ...]] = {name: (signals[part], activities[part]) for name, part in rows.items()}
    return splits | {"train": (*splits["train"], persons[rows["train"]])}


def preprocess(raw: Array) -> Array:
    """Scale signals (N, 6, 128) in g and rad/s to similar ranges, float32 (N, 6, 128, 1)."""
    ranges = np.array([1.0] * 3 + [GYROSCOPE_RANGE] * 3, np.float32)
    return (raw / ranges[:, None])[..., None]


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return view k of signals (N, 6, 128, 1), of which there is only the signal itself."""
    return x


def augment(x: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn both sensors of each sample by a random small angle, and change the size of its motion by up to 10%."""
    import torch

    count = len(x)
    turns = make_rotations(MAX_TURN * (2 * torch.rand(count, 3, generator=generator) - 1))
    sensors = x.reshape(count, 2, 3, -1)
    mean = sensors.mean(3, keepdim=True)
    gains = 1 + MAX_GAIN * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    moved = mean + gains * (sensors - mean)
    return (turns[:, None] @ moved).reshape(x.shape), targets


def make_rotations(angles: torch.Tensor) -> torch.Tensor:
    """Return the rotations (N, 3, 3) around z, then y, then x, for angles (N, 3) around x, y and z in radians."""
    import torch

    zero, one = torch.zeros(len(angles)), torch.ones(len(angles))
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    around_x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], 1).reshape(-1, 3, 3)
    around_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).reshape(-1, 3, 3)
    around_z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], 1).reshape(-1, 3, 3)
    return around_x @ around_y @ around_z


def _read_signals(path: Path) -> Windows:
    """Read the windows of the six activities from the raw signals."""
    with np.load(path, allow_pickle=False) as content:
        signals, windows = content["signal_t"], content["windows"]
    starts, activities, persons = windows[windows[:, 1] <= len(ACTIVITIES), :3].T
    units = np.array([1 / COUNTS_PER_G] * 3 + [RADIANS_PER_COUNT] * 3, np.float32)
    cut = np.stack([signals[:, start : start + WINDOW_STEPS] for start in starts])
    return cut * units[:, None], activities.astype(np.int64) - 1, persons


def _read_archive(path: Path) -> Windows:
    """Read the windows of both parts of the official archive. Raises DataError for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            train, test = (_read_part(archive, part) for part in ("train", "test"))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError) as error:
        raise DataError(f"{path.name} is not the archive of UCI HAR ({error})") from error
    joined = [np.concatenate(pair) for pair in zip(train, test, strict=True)]
    return joined[0], joined[1], joined[2]


def _read_part(archive: zipfile.ZipFile, part: str) -> Windows:
    def read(name: str, dtype: type) -> Array:
        content = archive.read(f"UCI HAR Dataset/{part}/{name}_{part}.txt")
        return np.loadtxt(io.BytesIO(content), dtype, ndmin=2)

    names = [f"Inertial Signals/{sensor}_{axis}" for sensor in ("total_acc", "body_gyro") for axis in "xyz"]
    signals = np.stack([read(name, np.float32) for name in names], axis=1)
    if signals.shape[1:] != INPUTS[0].shape[:2]:
        raise ValueError(f"windows of shape {signals.shape[1:]}")
    return signals, read("y", np.int64)[:, 0] - 1, read("subject", np.int64)[:, 0]


def fixture() -> dict[str, bytes]:
    """Return a small archive of the official layout: five windows of each of ten persons, with random signals."""
    generator = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, persons in (("train", (1, 3, 5, 6, 7, 8)), ("test", (2, 4, 9, 10))):
            count = 5 * len(persons)
            tables = {"y": np.arange(count)[:, None] % len(ACTIVITIES) + 1, "subject": np.repeat(persons, 5)[:, None]}
            for sensor in ("total_acc", "body_gyro"):
                for axis in "xyz":
                    tables[f"Inertial Signals/{sensor}_{axis}"] = generator.normal(size=(count, WINDOW_STEPS))
            for name, table in tables.items():
                text = io.StringIO()
                np.savetxt(text, table, "%d" if table.dtype.kind == "i" else "%.7e")
                archive.writestr(f"UCI HAR Dataset/{part}/{name}_{part}.txt", text.getvalue())
    return {ARCHIVE: buffer.getvalue()}
