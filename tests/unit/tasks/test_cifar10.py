"""CIFAR-10: the official layout, the conversion of PNG files, preprocessing by its formula, and augmentation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeproof.core.errors import DataError
from edgeproof.tasks import cifar10

FILES = (*cifar10.TRAIN_FILES, cifar10.TEST_FILE)


def write_fixture(folder: Path) -> dict[str, Path]:
    for name, content in cifar10.fixture().items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in FILES}


def test_validation_pictures_come_from_the_training_files_and_keep_their_labels(tmp_path: Path) -> None:
    files = write_fixture(tmp_path)
    splits = cifar10.data(files, validation_samples=30, seed=1)
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 70, "validation": 30, "test": 20}
    rows = {row[1:]: row[0] for name in cifar10.TRAIN_FILES for row in split_rows(files[name])}
    for name in ("train", "validation"):
        assert [rows[image.tobytes()] for image in splits[name][0]] == splits[name][1].tolist()
    test = split_rows(files[cifar10.TEST_FILE])
    assert [bytes([y]) + x.tobytes() for x, y in zip(*splits["test"], strict=True)] == test


def split_rows(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return [content[start : start + 3073] for start in range(0, len(content), 3073)]


def test_a_row_is_the_label_then_all_of_red_green_and_blue(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(bytes([7]) + bytes(range(256)) * 4 + b"\x05" * 1024 + b"\x09" * 1024)
    images, labels = cifar10.read_batch(tmp_path / "batch")
    assert labels.tolist() == [7]
    assert images[0, 0].reshape(-1).tolist() == list(range(256)) * 4
    assert images[0, 0, 1, 0] == 32  # the second row of red
    assert np.unique(images[0, 1]).tolist() == [5]
    assert np.unique(images[0, 2]).tolist() == [9]


@pytest.mark.parametrize("content", [b"", b"\0" * 3072, b"\0" * 3074, b"\x0a" + b"\0" * 3072])
def test_a_file_of_another_format_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match="batch"):
        cifar10.read_batch(tmp_path / "batch")


def test_pictures_are_standardized_by_colour() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    inputs = cifar10.preprocess(raw)
    assert inputs.dtype == np.float32
    for colour, (mean, deviation) in enumerate(zip((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True)):
        expected = (raw[:, colour].astype(np.float64) / 255 - mean) / deviation
        np.testing.assert_allclose(inputs[:, colour], expected, atol=1e-5)


def write_png_package(folder: Path, pictures: int = 4) -> np.ndarray:
    """Write PNG strips and label lists in the form of the npm package. Return the pictures (6, N, 32, 32, 3)."""
    folder.mkdir()
    images = np.random.default_rng(1).integers(0, 256, (6, pictures, 32, 32, 3), np.uint8)
    for name, strip in zip(FILES, images, strict=True):
        # One picture is one row of 1024 pixels.
        Image.fromarray(strip.reshape(pictures, 1024, 3)).save(folder / f"{Path(name).stem}.png")
    (folder / "train_lables.json").write_text(json.dumps([n % 10 for n in range(5 * pictures)]))
    (folder / "test_lables.json").write_text(json.dumps([9] * pictures))
    return images


def test_a_png_strip_becomes_the_official_binary_file(tmp_path: Path) -> None:
    images = write_png_package(tmp_path / "package")
    cifar10.convert(tmp_path / "package", "png_rows", tmp_path)
    for number, name in enumerate(FILES):
        pixels, labels = cifar10.read_batch(tmp_path / name)
        np.testing.assert_array_equal(pixels, images[number].transpose(0, 3, 1, 2))
        expected = [9] * 4 if name == cifar10.TEST_FILE else [n % 10 for n in range(4 * number, 4 * number + 4)]
        assert labels.tolist() == expected


@pytest.mark.parametrize("damage", ["few labels", "no labels", "no png", "narrow", "another form"])
def test_a_damaged_package_is_a_data_error(tmp_path: Path, damage: str) -> None:
    package, form = tmp_path / "package", "png_rows"
    write_png_package(package)
    if damage == "few labels":
        (package / "train_lables.json").write_text("[1, 2, 3]")
    elif damage == "no labels":
        (package / "test_lables.json").write_text('{"labels": "none"}')
    elif damage == "no png":
        (package / "data_batch_3.png").write_bytes(b"GIF89a")
    elif damage == "narrow":
        Image.new("RGB", (32, 4)).save(package / "test_batch.png")
    else:
        form = "jpeg"
    with pytest.raises(DataError):
        cifar10.convert(package, form, tmp_path)


def test_augmentation_shifts_and_mirrors_and_blanks_at_most_one_square() -> None:
    # Each pixel has a number of its own, so every augmented pixel tells from where it came.
    numbers = torch.arange(1.0, 1025.0).reshape(1, 1, 32, 32).expand(200, 3, -1, -1)
    targets = torch.arange(200)
    augmented, same = cifar10.augment(numbers, targets, torch.Generator().manual_seed(0))
    assert torch.equal(same, targets)
    assert augmented.shape == numbers.shape
    shifts, mirrors = set(), 0
    rows, columns = np.mgrid[0:32, 0:32]
    for image in augmented.numpy().astype(int):
        assert (image == image[0]).all()
        real = image[0] > 0
        source_rows, source_columns = np.divmod(image[0] - 1, 32)
        down = np.unique((source_rows - rows)[real])
        is_mirrored = len(np.unique((source_columns + columns)[real])) == 1
        right = np.unique((source_columns + columns - 31 if is_mirrored else source_columns - columns)[real])
        assert len(down) == len(right) == 1
        assert max(abs(down[0]), abs(right[0])) <= 4
        shifts.add((down[0], right[0]))
        mirrors += is_mirrored
        assert (~real).sum() <= 32 * 32 - 28 * 28 + 8 * 8
    assert len(shifts) > 60
    assert 70 < mirrors < 130


def test_augmentation_depends_only_on_the_generator() -> None:
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    first, again, other = (cifar10.augment(x, y, torch.Generator().manual_seed(n))[0] for n in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
