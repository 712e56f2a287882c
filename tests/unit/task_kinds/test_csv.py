"""The kind csv: the table is that of the csv module and numpy, and unsuitable cells are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.described_tasks import make_task
from edgeproof.core.errors import DataError
from edgeproof.task_kinds import csv
from tests.support.own_data import read_kind, write_csv

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(10, 4, (60, 3)).round(3)
COLUMNS = ["width", "height", "depth", "kind"]
KINDS = ["oak", "ash", "elm"]


def make_rows(targets: list[Any] | None = None) -> list[list[Any]]:
    labels = [KINDS[number % 3] for number in range(60)] if targets is None else targets
    return [[*row, label] for row, label in zip(X.tolist(), labels, strict=True)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "trees.csv", COLUMNS, make_rows())


def test_numbers_and_names_of_classes_are_read(file: Path) -> None:
    prepared = read_kind("csv", file, target="kind")
    assert prepared.description.classes == ("ash", "elm", "oak")
    known = {row.tobytes(): KINDS[number % 3] for number, row in enumerate(X.astype(np.float32))}
    for inputs, labels in prepared.splits.values():
        names = [prepared.description.classes[label] for label in labels]
        assert names == [known[row.tobytes()] for row in inputs]
    assert {name: len(y) for name, (_, y) in prepared.splits.items()} == {"train": 42, "validation": 6, "test": 12}


def test_features_are_standardized_by_training_samples_alone(file: Path) -> None:
    prepared = read_kind("csv", file, target="kind")
    task = make_task(prepared.description)
    train, _ = prepared.splits["train"]
    test, _ = prepared.splits["test"]
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(task.preprocess(test), (test - mean) / deviation, rtol=1e-4, atol=1e-5)
    assert abs(task.preprocess(test).mean()) > 1e-3


@pytest.mark.parametrize(
    ("targets", "metric", "classes"),
    [
        ([number % 2 + 3 for number in range(60)], "accuracy", ("3", "4")),
        ([number * 0.5 for number in range(60)], "rmse", ()),
        ([f"{number}.0" for number in range(60)], "rmse", ()),
    ],
)
def test_the_metric_follows_the_target(
    targets: list[Any], metric: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "a.csv", COLUMNS, make_rows(targets))
    prepared = read_kind("csv", path, target="kind")
    assert (prepared.description.metrics, prepared.description.classes) == ((metric,), classes)


def test_a_regression_keeps_its_values(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", COLUMNS, make_rows((X.sum(axis=1)).tolist()))
    inputs, values = read_kind("csv", path, target="kind").splits["train"]
    np.testing.assert_allclose(values[:, 0], inputs.sum(axis=1), rtol=1e-5)


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    for split, rows in (("train", make_rows()[:40]), ("test", make_rows()[40:])):
        write_csv(tmp_path / f"{split}.csv", COLUMNS, rows)
    inputs, _ = read_kind("csv", tmp_path, target="kind").splits["test"]
    np.testing.assert_array_equal(inputs, X[40:].astype(np.float32))


def test_features_can_be_chosen_or_dropped(file: Path) -> None:
    chosen = read_kind("csv", file, target="kind", features=["depth", "width"]).splits["train"][0]
    dropped = read_kind("csv", file, target="kind", drop=["height"]).splits["train"][0]
    np.testing.assert_array_equal(chosen[:, ::-1], dropped)


def test_quoted_cells_a_mark_of_utf_8_and_another_delimiter_are_read(tmp_path: Path) -> None:
    lines = ['"a ""1""";b', *(f'"{number}"; "é,{number % 2}"' for number in range(20))]
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    table = csv.read_table(path, ";")
    assert table.columns == ('a "1"', "b")
    assert len(table.rows) == 20


def replace(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


FIRST = f"{X[0, 0]},{X[0, 1]},"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (FIRST, f"{X[0, 0]},", r"line 2 has 3 cells, and the first line names 4"),
        (FIRST, f",{X[0, 1]},", r"the value of 'width' in row 1 is missing \(1 such rows\).*'drop'"),
        (FIRST, f"nan,{X[0, 1]},", "the value of 'width' in row 1 is missing"),
        (FIRST, f"wide,{X[0, 1]},", "the value of 'width' in row 1 is 'wide', no finite number"),
        (FIRST, f"1e999,{X[0, 1]},", "is '1e999', no finite number"),
        (FIRST, f"1_000,{X[0, 1]},", "is '1_000', no finite number"),
        ("oak", "", "label 'kind' in row 1 is missing"),
        ("oak", "?", "label 'kind' in row 1 is missing"),
        ("oak", "yew", "class 'yew' has 1 different sample"),
        ("width", "height", "has several columns 'height'"),
        ("width", "", "column 1 has no name"),
        ("kind", "Kind", "has no column 'kind'. Did you mean 'Kind'"),
        ("oak", '"oak', "is no CSV file in UTF-8"),
    ],
)
def test_bad_cells_are_named_with_their_row(old: str, new: str, message: str, file: Path) -> None:
    file.write_text(replace(file.read_text(), old, new))
    with pytest.raises(DataError, match=message):
        read_kind("csv", file, target="kind")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,kind\n", "has no rows"),
        (b"kind\noak\n", "has no column to predict 'kind' from"),
        (b"\xff\xfe\x00", "is no CSV file in UTF-8"),
    ],
)
def test_files_that_are_no_tables_are_refused(content: bytes, message: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_kind("csv", file, target="kind")


def test_a_folder_without_test_data_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", COLUMNS, make_rows())
    with pytest.raises(DataError, match=r"without test\.csv"):
        read_kind("csv", tmp_path, target="kind")


def test_the_target_is_no_feature(file: Path) -> None:
    with pytest.raises(DataError, match="is among the features"):
        read_kind("csv", file, target="depth", features=["width", "depth"])
