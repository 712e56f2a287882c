"""Tasks: splits without overlap, preprocessing by its formula, and views."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproof.core.errors import DataError
from edgeproof.data import task_quality
from edgeproof.statistics.metric import CORRECT
from edgeproof.tasks import digits, fashion_mnist
from tests.support import idx_files

# --- digits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 1,797 distinguishable rows: the pixels are the row's number in binary, the label is its last digit."""
    path = tmp_path_factory.mktemp("digits") / "digits.csv"
    rows = np.zeros((1797, 65), int)
    for number in range(1797):
        rows[number, :11] = [number >> bit & 1 for bit in range(11)]
        rows[number, 64] = number % 10
    np.savetxt(path, rows, fmt="%d", delimiter=",")
    return path


def decode_numbers(images: np.ndarray) -> list[int]:
    return [int(sum(int(bit) << place for place, bit in enumerate(image.reshape(-1)[:11]))) for image in images]


def test_every_digit_is_in_exactly_one_split(table: Path) -> None:
    splits = digits.data({"digits.csv": table}, validation_samples=200, seed=0)
    numbers = {name: decode_numbers(images) for name, (images, _) in splits.items()}
    assert {name: len(members) for name, members in numbers.items()} == {"train": 1000, "validation": 200, "test": 597}
    assert sorted(number for members in numbers.values() for number in members) == list(range(1797))
    for name, (images, labels) in splits.items():
        assert images.shape[1:] == digits.INPUTS[0].shape
        assert [number % 10 for number in numbers[name]] == labels.tolist()


def test_the_splits_of_digits_depend_only_on_the_seed(table: Path) -> None:
    first, again, other = (digits.data({"digits.csv": table}, validation_samples=200, seed=s) for s in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name][0], again[name][0])
    assert decode_numbers(first["test"][0]) != decode_numbers(other["test"][0])


def test_the_test_split_of_digits_does_not_depend_on_the_number_of_validation_samples(table: Path) -> None:
    few, many = (digits.data({"digits.csv": table}, validation_samples=n, seed=0)["test"] for n in (10, 500))
    np.testing.assert_array_equal(few[0], many[0])


def test_pixels_of_digits_are_scaled_to_minus_one_to_one() -> None:
    inputs = digits.preprocess(np.array([0, 4, 8, 16], np.uint8))
    assert inputs.dtype == np.float32
    assert inputs.tolist() == [-1.0, -0.5, 0.0, 1.0]


def test_the_views_of_digits_are_the_image_and_four_shifts_by_one_pixel_of_background() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    neighbours = {
        (dy, dx): padded[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx] for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))
    }
    views = [digits.view(torch.from_numpy(x), k).numpy() for k in range(digits.VIEWS)]
    np.testing.assert_array_equal(views[0], x)
    shifts = [next(shift for shift, image in neighbours.items() if np.array_equal(image, view)) for view in views[1:]]
    assert sorted(shifts) == sorted(neighbours)


def test_a_view_does_not_change_its_batch() -> None:
    x = torch.rand(2, 1, 8, 8)
    original = x.clone()
    for k in range(digits.VIEWS):
        digits.view(x, k)
    assert torch.equal(x, original)


# --- Fashion-MNIST -------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (50, 28, 28)),
        "train-labels-idx1-ubyte": np.arange(50) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (7, 28, 28)),
        "t10k-labels-idx1-ubyte": np.arange(7),
    }
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx_files.encode(array))
    return {name: tmp_path / name for name in arrays}


def test_fashion_mnist_keeps_its_test_split_and_takes_validation_from_training(files: dict[str, Path]) -> None:
    splits = fashion_mnist.data(files, validation_samples=20, seed=0)
    train = np.frombuffer(files["train-images-idx3-ubyte"].read_bytes()[16:], np.uint8).reshape(50, 1, 28, 28)
    cut = np.concatenate([splits["train"][0], splits["validation"][0]])
    assert (len(splits["train"][0]), len(splits["validation"][0])) == (30, 20)
    assert {image.tobytes() for image in cut} == {image.tobytes() for image in train}
    where = {image.tobytes(): number for number, image in enumerate(train)}
    for name in ("train", "validation"):
        assert [where[image.tobytes()] % 10 for image in splits[name][0]] == splits[name][1].tolist()
    assert splits["test"][0].shape == (7, 1, 28, 28)
    assert splits["test"][1].tolist() == list(range(7))


def test_fashion_mnist_is_standardized_with_the_statistics_of_its_training_images() -> None:
    raw = np.arange(256, dtype=np.uint8)
    inputs = fashion_mnist.preprocess(raw)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs, (np.arange(256) / 255 - 0.2860) / 0.3530, rtol=1e-5, atol=1e-6)


def test_the_second_view_of_fashion_mnist_is_the_mirror_image() -> None:
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(fashion_mnist.view(x, 0), x)
    np.testing.assert_array_equal(fashion_mnist.view(x, 1).numpy(), x.numpy()[..., ::-1])


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 15, 16, 17, 100, 16 + 4 * 28 * 28 - 1])
def test_a_truncated_idx_file_is_a_data_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_files.encode(np.zeros((4, 28, 28)))[:length])
    with pytest.raises(DataError, match="images"):
        fashion_mnist.read_idx(path, fashion_mnist.IMAGES_MAGIC)


@pytest.mark.parametrize(
    "content",
    [
        idx_files.encode(np.zeros((4, 28, 28))) + b"\0",
        idx_files.encode(np.zeros(4)),
        b"\x00\x00\x09\x03" + idx_files.encode(np.zeros((4, 28, 28)))[4:],
        gzip.compress(idx_files.encode(np.zeros((4, 28, 28)))),
        b"<!doctype html><html>a page in the data's place</html>",
    ],
    ids=["too long", "labels for images", "signed bytes", "still compressed", "a page"],
)
def test_a_file_that_is_not_the_expected_idx_file_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match="images"):
        fashion_mnist.read_idx(path, fashion_mnist.IMAGES_MAGIC)


def test_an_idx_file_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "images"
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    path.write_bytes(idx_files.encode(array))
    np.testing.assert_array_equal(fashion_mnist.read_idx(path, fashion_mnist.IMAGES_MAGIC), array)


# --- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["digits", "fashion_mnist"])
def test_a_sample_is_correct_if_its_highest_output_is_its_label(task: str, project_root: Path) -> None:
    outputs = np.array([[0.1, 0.9, 0.0], [5.0, -1.0, 2.0], [-3.0, -2.0, -1.0]], np.float32)
    evidence = task_quality.load_task_quality(task).collect((), (outputs,), np.array([1, 2, 2]))
    assert evidence[CORRECT].tolist() == [True, False, True]
