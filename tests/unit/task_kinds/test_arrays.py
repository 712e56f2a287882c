"""The kind arrays: values, classes and preprocessing equal formulas in numpy, and unsuitable files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.described_tasks import make_task
from edgeproof.core.errors import DataError
from edgeproof.task_kinds import arrays
from tests.support.own_data import read_kind

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((60, 4)).astype(np.float32)
Y = np.arange(60) % 3


def write(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.npz"


def test_named_splits_are_kept_and_validation_comes_from_training(file: Path) -> None:
    write(file, x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    splits = read_kind("arrays", file).splits
    (test,), labels = splits["test"]
    np.testing.assert_array_equal(test, X[40:])
    np.testing.assert_array_equal(labels, Y[40:])
    rest = np.concatenate([splits[name][0][0] for name in ("train", "validation")])
    assert {row.tobytes() for row in rest} == {row.tobytes() for row in X[:40]}
    assert len(splits["validation"][1]) == 3  # a tenth of each class, 13 or 14 samples


def test_samples_stay_with_their_targets(file: Path) -> None:
    write(file, x=X, y=Y)
    known = {row.tobytes(): label for row, label in zip(X, Y, strict=True)}
    splits = read_kind("arrays", file).splits
    for (inputs,), labels in splits.values():
        assert [known[row.tobytes()] for row in inputs] == labels.tolist()
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 42, "validation": 6, "test": 12}


def test_labels_of_any_kind_become_class_numbers_in_the_order_of_their_values(file: Path) -> None:
    for names in (np.array(["b", "a", "c"]), np.array([7, -1, 30]), np.array([7.0, -1.0, 30.0])):
        write(file, x=X, y=names[Y])
        metric = "accuracy" if names.dtype.kind == "f" else None
        prepared = read_kind("arrays", file, metric=metric)
        order = np.argsort(names)
        assert prepared.description.classes == tuple(
            str(int(n)) if n.dtype.kind == "f" else str(n) for n in names[order]
        )
        (inputs,), labels = prepared.splits["test"]
        expected = {row.tobytes(): int(np.argsort(order)[label]) for row, label in zip(X, Y, strict=True)}
        assert labels.tolist() == [expected[row.tobytes()] for row in inputs]


def test_floats_are_values_to_predict(file: Path) -> None:
    import torch

    write(file, x=X, y=X.sum(axis=1))
    prepared = read_kind("arrays", file)
    task = make_task(prepared.description)
    assert (task.METRICS, task.OUTPUTS[0].shape, task.CLASSES) == (("rmse",), (1,), ())
    (inputs,), values = prepared.splits["train"]
    np.testing.assert_allclose(values, inputs.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-6)
    assert float(task.loss(torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [2.0]]), None)) == 2.5


def test_integers_are_values_to_predict_if_the_metric_says_so(file: Path) -> None:
    write(file, x=X, y=np.arange(60))
    assert read_kind("arrays", file, metric="rmse").splits["train"][1].dtype == np.float32
    with pytest.raises(DataError, match=r"60 different integers in 60 samples.*'metric: rmse'"):
        read_kind("arrays", file)


def test_8_bit_pictures_are_scaled_and_turned(file: Path) -> None:
    pictures = RANDOM.integers(0, 256, (60, 5, 6, 3), np.uint8)
    write(file, x=pictures, y=Y)
    with pytest.raises(DataError, match="layout: channels_last"):
        read_kind("arrays", file)
    prepared = read_kind("arrays", file, layout="channels_last")
    task = make_task(prepared.description)
    assert task.INPUTS[0].shape == (3, 5, 6)
    known = {picture.transpose(2, 0, 1).tobytes() for picture in pictures}
    (raw,), _ = prepared.splits["train"]
    assert {picture.tobytes() for picture in raw} <= known
    np.testing.assert_allclose(task.preprocess(raw), raw / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 8), (2, 4, 4)])
def test_standardized_features_have_mean_0_and_deviation_1_over_training_alone(
    file: Path, shape: tuple[int, ...]
) -> None:
    x = RANDOM.normal(5, 3, (60, *shape)).astype(np.float32)
    x[:, 0] = 7
    test = x[40:] * 100
    write(file, x_train=x[:40], y_train=Y[:40], x_test=test, y_test=Y[40:])
    prepared = read_kind("arrays", file, standardize=True, layout="channels_first")
    task = make_task(prepared.description)
    (train,), _ = prepared.splits["train"]
    axes = (0, *range(2, train.ndim))
    result = task.preprocess(train)
    np.testing.assert_allclose(result.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=axes)[1:], 1, atol=1e-5)
    mean, deviation = (f(train.astype(np.float64), axis=axes, keepdims=True) for f in (np.mean, np.std))
    expected = (test - mean) / np.where(deviation > 0, deviation, 1)
    np.testing.assert_allclose(task.preprocess(prepared.splits["test"][0][0]), expected, rtol=1e-3, atol=1e-3)


def test_tokens_stay_integers_and_other_integers_become_floats(file: Path) -> None:
    write(file, x=RANDOM.integers(0, 1000, (60, 7)), y=Y)
    for tokens, dtype in ((True, "int64"), (False, "float32")):
        prepared = read_kind("arrays", file, tokens=tokens)
        task = make_task(prepared.description)
        assert task.INPUTS[0].dtype == dtype == task.preprocess(prepared.splits["train"][0][0]).dtype.name


def test_several_named_inputs_are_kept_together(file: Path) -> None:
    write(file, sound=X, picture=X.reshape(60, 1, 2, 2) * 2, label=Y)
    prepared = read_kind("arrays", file, inputs=["sound", "picture"], target="label")
    task = make_task(prepared.description)
    assert [(port.name, port.shape) for port in task.INPUTS] == [("sound", (4,)), ("picture", (1, 2, 2))]
    sound, picture = prepared.splits["train"][0]
    np.testing.assert_array_equal(picture.reshape(len(picture), -1), sound * 2)
    assert len(task.preprocess((sound, picture))) == 2


NOT_FINITE = X.copy()
NOT_FINITE[17, 2] = np.nan


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": X}, r"has no array 'y'.*It has: x\. Needed are x_train"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "has no array 'y_test'. Did you mean"),
        ({"x": X, "y": Y[:-1]}, r"arrays of different lengths: x \(60, 4\), y \(59,\)"),
        ({"x": X[:0], "y": Y[:0]}, "has no samples"),
        ({"x": NOT_FINITE, "y": Y}, "x in .* holds NaN or infinity in row 17"),
        ({"x": X, "y": NOT_FINITE[:, 2]}, "y in .* holds NaN or infinity in row 17"),
        ({"x": X[:, 0], "y": Y}, r"reshape\(-1, 1\)"),
        ({"x": X.astype(str), "y": Y}, "x in .* holds <U.*, and numbers are needed"),
        ({"x": X, "y": Y * 0}, r"one class only \(0\)"),
        ({"x": X, "y": np.eye(3, dtype=int)[Y]}, r"y\.argmax\(axis=1\)"),
        ({"x": X, "y": np.array([None] * 60)}, "the array 'y' can't be read .*pickle"),
        (
            {"x_train": X, "y_train": Y % 2, "x_test": X, "y_test": Y},
            r"y in .* \(test\) has classes that no training sample has: 2",
        ),
        ({"x": X, "y": np.where(np.arange(60) == 5, 9, Y)}, "class '9' has 1 different sample"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(content: dict[str, Any], message: str, file: Path) -> None:
    write(file, **content)
    with pytest.raises(DataError, match=message):
        read_kind("arrays", file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"text"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"is no \.npz file .*numpy\.savez"):
        read_kind("arrays", file)


def test_a_single_array_is_refused(file: Path) -> None:
    np.save(file.with_suffix(".npy"), X)
    with pytest.raises(DataError, match="is a single array"):
        read_kind("arrays", file.with_suffix(".npy"))


def test_fractions_are_no_classes(file: Path) -> None:
    write(file, x=X, y=X[:, 0])
    with pytest.raises(DataError, match=r"holds fractions, such as .*'metric: rmse'"):
        read_kind("arrays", file, metric="accuracy")


def test_the_metric_follows_a_file_that_changes(file: Path) -> None:
    options = arrays.Options(path=str(file))
    write(file, x=X, y=Y)
    assert arrays.find_metric(options) == "accuracy"
    write(file, x=X, y=X[:, 0])
    assert arrays.find_metric(options) == "rmse"
