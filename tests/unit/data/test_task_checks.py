"""Checks of what a task's file gives: every mistake is a DataError when the data is prepared, before any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port
from edgeproof.data import preparation
from tests.support.array_tasks import prepare_task, write_task

TASK = """
INPUTS = (Port("image", (1, 2, 2)), Port("numbers", (3,), "int64"))
OUTPUTS = (Port("logits", (4,)),)
METRICS = ("accuracy",)
"""
WITH_LOSS = TASK + "def loss(outputs, targets, inputs): return ((outputs - targets) ** 2).mean()\n"

Arrays = dict[str, np.ndarray]


def make_arrays() -> Arrays:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", 20), ("validation", 5), ("test", 6)):
        arrays[f"{name}_x0"] = rng.standard_normal((count, 1, 2, 2)).astype(np.float32)
        arrays[f"{name}_x1"] = rng.integers(0, 9, (count, 3))
        arrays[f"{name}_y"] = np.arange(count) % 4
    return arrays


def prepare(root: Path, arrays: Arrays, code: str = TASK) -> Path:
    """Prepare the task with the given arrays and return its data directory."""
    write_task(root / "plugins", "arrays", code)
    return prepare_task("arrays", arrays, root)


@pytest.fixture
def root(plugin_root: Path, tmp_path: Path) -> Path:
    return tmp_path


def test_several_inputs_are_stored_and_loaded_with_their_types(root: Path) -> None:
    arrays = make_arrays()
    data = prepare(root, arrays)
    for split in ("train", "validation", "test"):
        (image, numbers), targets = preparation.load_split("arrays", split, data)
        assert (image.dtype, numbers.dtype, targets.dtype) == (np.float32, np.int64, np.int64)
        np.testing.assert_array_equal(image, arrays[f"{split}_x0"])
        np.testing.assert_array_equal(numbers, arrays[f"{split}_x1"])
        np.testing.assert_array_equal(targets, arrays[f"{split}_y"])
    image, numbers = preparation.load_calibration("arrays", data)
    rows = [arrays["train_x0"].tolist().index(sample.tolist()) for sample in image]
    np.testing.assert_array_equal(numbers, arrays["train_x1"][rows])


def test_targets_of_a_task_with_a_loss_stay_what_they_are(root: Path) -> None:
    targets = np.array([0.73, -2.5, 1e-3, 7.0] * 5, np.float32)[:, None]
    arrays = make_arrays() | {"train_y": targets}
    data = prepare(root, arrays, WITH_LOSS)
    loaded = preparation.load_split("arrays", "train", data)[1]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, targets)


def replace(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


def put(value: float, place: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed.reshape(-1)[place] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("train_x0", np.float64), r"'image' as float64 of shape 1×2×2 and declares float32"),
        (replace("train_x1", np.int32), r"'numbers' as int32 of shape 3 and declares int64"),
        (replace("validation_x0", lambda x: x[:, 0]), r"float32 of shape 2×2 and declares float32 of shape 1×2×2"),
        (replace("test_x0", lambda x: x.repeat(2, axis=2)), r"of shape 1×4×2 and declares float32 of shape 1×2×2"),
        (replace("train_x0", lambda x: x[:-1]), r"split 'train' .* has 19 and 20 and 20 entries"),
        (replace("validation_y", lambda y: y[:-1]), r"split 'validation' .* has 5 and 5 and 4 entries"),
        (replace("train_y", lambda y: np.int64(3)), r"split 'train' .* arrays are needed"),
        (replace("train_x0", put(np.nan, 0)), r"input 'image' holds NaN or infinity"),
        (replace("test_x0", put(np.inf, -1)), r"input 'image' holds NaN or infinity"),
        (replace("train_y", lambda y: y + 0.73), r"are float64 of shape 20, and class numbers .* define loss"),
        (replace("train_y", lambda y: y[:, None]), r"are int64 of shape 20×1, and class numbers"),
        (replace("train_y", lambda y: y > 1), r"are bool of shape 20, and class numbers"),
        (replace("test_y", put(4, 2)), r"go from 0 to 4, and its output 'logits' has 4 values"),
        (replace("validation_y", put(-1, 0)), r"go from -1 to 3"),
        (lambda arrays: {k: v for k, v in arrays.items() if k != "test_y"}, "returns no split test"),
        (lambda arrays: {k: v[:0] if "train" in k else v for k, v in arrays.items()}, "split 'train' .* is empty"),
    ],
)
def test_data_that_does_not_fit_its_declaration_is_refused(
    change: Callable[[Arrays], Arrays], message: str, root: Path
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(root, change(make_arrays()))
    assert not list((root / "data").glob("arrays/build*"))


def test_a_sample_with_nan_is_refused_wherever_it_is(root: Path) -> None:
    data = prepare(root, make_arrays() | replace("train_x0", put(np.nan, -1))(make_arrays()))
    with pytest.raises(DataError, match="input 'image' holds NaN"):
        preparation.load_split("arrays", "train", data)


def test_targets_with_nan_are_refused(root: Path) -> None:
    targets = make_arrays()["train_y"].astype(np.float32)
    with pytest.raises(DataError, match="targets hold NaN"):
        prepare(root, make_arrays() | {"train_y": put(np.nan, -1)(targets)}, WITH_LOSS)


@pytest.mark.parametrize(
    "outputs",
    ['(Port("a", (4,)), Port("b", (4,)))', '(Port("map", (4, 2, 2)),)'],
)
def test_a_task_without_class_scores_needs_a_loss(outputs: str, root: Path) -> None:
    code = f"{TASK}\nOUTPUTS = {outputs}\n"
    with pytest.raises(DataError, match=r"is no classification.* Define loss\(outputs, targets, inputs\)"):
        prepare(root, make_arrays(), code)


def test_a_task_whose_outputs_changed_no_longer_fits_its_prepared_data(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(root, make_arrays())
    monkeypatch.setattr(plugins.load("tasks", "arrays"), "OUTPUTS", (Port("scores", (3,)),))
    with pytest.raises(DataError, match="its output 'scores' has 3 values"):
        preparation.load_split("arrays", "train", data)
