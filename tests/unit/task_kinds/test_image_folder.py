"""The kind image_folder: pixels equal those of Pillow or of a formula, classes and splits come from the folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.described_tasks import make_task
from edgeproof.core.errors import DataError
from edgeproof.data.pictures import decode_picture
from tests.support.own_data import read_kind, write_pictures


def test_pictures_and_classes_are_those_of_the_folders(tmp_path: Path) -> None:
    write_pictures(
        tmp_path, {"train/red": 6, "train/blue": 5, "validation/red": 1, "validation/blue": 2, "test/red": 3}
    )
    prepared = read_kind("image_folder", tmp_path, size=[6, 8])
    assert prepared.description.classes == ("blue", "red")
    assert {split: len(y) for split, (_, y) in prepared.splits.items()} == {"train": 11, "validation": 3, "test": 3}
    images, labels = prepared.splits["test"]
    assert labels.tolist() == [1, 1, 1]
    for row, image in enumerate(images):
        expected = np.asarray(Image.open(tmp_path / "test" / "red" / f"{row}.png"))
        np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))


def test_preprocessing_maps_0_to_minus_1_and_255_to_1(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 4, "blue": 4})
    task = make_task(read_kind("image_folder", tmp_path, size=[1, 3], channels=1).description)
    np.testing.assert_allclose(task.preprocess(np.array([[[[0, 51, 255]]]], np.uint8)), [[[[-1, -0.6, 1]]]], atol=1e-6)
    assert (task.INPUTS[0].shape, task.OUTPUTS[0].shape, task.METRICS) == ((1, 1, 3), (2,), ("accuracy",))


def test_mirrored_pictures_are_a_second_view(tmp_path: Path) -> None:
    import torch

    write_pictures(tmp_path, {"red": 4, "blue": 4})
    task = make_task(read_kind("image_folder", tmp_path, size=[4, 4], mirror=True).description)
    pictures = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert task.VIEWS == 2
    assert torch.equal(task.view(pictures, 0), pictures)
    np.testing.assert_array_equal(task.view(pictures, 1).numpy(), pictures.numpy()[..., ::-1])


def test_the_test_split_depends_on_the_content_and_not_on_names_or_seed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", {"red": 20, "blue": 20})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for number, path in enumerate(sorted((tmp_path / "b").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed_{number:03}.png"))
    tests = [
        {
            image.tobytes()
            for image in read_kind("image_folder", tmp_path / place, size=[6, 8], seed=seed).splits["test"][0]
        }
        for place, seed in (("a", 0), ("a", 1), ("b", 0))
    ]
    assert tests[0] == tests[1] == tests[2]
    assert len(tests[0]) == 8


def test_copies_of_a_picture_are_in_one_split(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 12, "blue": 12})
    for path in list(tmp_path.rglob("*.png")):
        shutil.copyfile(path, path.with_stem(f"copy_{path.stem}"))
    splits = read_kind("image_folder", tmp_path, size=[6, 8]).splits
    contents = [{image.tobytes() for image in images} for images, _ in splits.values()]
    assert sum(len(images) for images, _ in splits.values()) == 48
    assert len(set.union(*contents)) == sum(map(len, contents)) == 24


def test_a_test_picture_that_is_trained_on_is_noted(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train/red": 5, "train/blue": 5, "test/red": 2})
    shutil.copyfile(tmp_path / "train/red/0.png", tmp_path / "test/red/again.png")
    (note,) = read_kind("image_folder", tmp_path, size=[6, 8]).notes
    assert note.startswith("1 test sample(s)")


GREY = np.array([[0, 100], [200, 255]], np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 7)], axis=-1)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp"])
def test_a_grey_picture_has_equal_colours(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(GREY).save(path, **options)
    np.testing.assert_array_equal(decode_picture(path, (2, 2), 3), np.stack([GREY] * 3))


def test_colours_become_grey_by_their_luminance(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    expected = COLOUR @ np.array([299, 587, 114]) / 1000
    np.testing.assert_allclose(decode_picture(tmp_path / "a.png", (2, 2), 1)[0], expected, atol=1)


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 255], [255, 51]], np.uint8)
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "a.png")
    share = alpha[..., None] / 255
    expected = COLOUR * share + 255 * (1 - share)
    np.testing.assert_allclose(decode_picture(tmp_path / "a.png", (2, 2), 3).transpose(1, 2, 0), expected, atol=1)


def test_a_palette_with_a_transparent_colour_is_read(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 2))
    picture.putdata([0, 1, 1, 0])
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.save(tmp_path / "a.png", transparency=0)
    pixels = decode_picture(tmp_path / "a.png", (2, 2), 3).transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels, [[[255] * 3, [200, 100, 50]], [[200, 100, 50], [255] * 3]])


def test_16_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    values = np.array([[0, 257], [128 * 257, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.png", (2, 2), 1), [[[0, 1], [128, 255]]])


def test_cmyk_is_read_as_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.tiff", (1, 1), 3).ravel(), [255, 0, 0])


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(np.arange(6).reshape(2, 3) * 40, -1)
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.png", (3, 2), 1)[0], expected)


def test_halving_a_picture_of_flat_quarters_keeps_their_colours(tmp_path: Path) -> None:
    quarters = np.kron(np.array([[10, 200], [90, 30]], np.uint8), np.ones((8, 8), np.uint8))
    Image.fromarray(quarters).save(tmp_path / "a.png")
    small = decode_picture(tmp_path / "a.png", (8, 8), 1)[0]
    np.testing.assert_array_equal(small[[1, 1, 6, 6], [1, 6, 1, 6]], [10, 200, 90, 30])


def make_empty(folder: Path) -> None:
    (folder / "green").mkdir()


def make_damaged(folder: Path) -> None:
    path = folder / "red" / "9.png"
    path.write_bytes((folder / "red" / "0.png").read_bytes()[:60])


def make_text(folder: Path) -> None:
    (folder / "red" / "notes.txt").write_text("x")


def make_empty_file(folder: Path) -> None:
    (folder / "red" / "9.jpg").write_bytes(b"")


def make_test_only(folder: Path) -> None:
    (folder / "test").mkdir()


def make_float(folder: Path) -> None:
    Image.fromarray(np.ones((3, 3), np.float32)).save(folder / "red" / "9.tif")


def make_rare(folder: Path) -> None:
    write_pictures(folder, {"green": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (make_empty, r"green has no pictures. Add some, or remove the folder"),
        (make_damaged, r"red/9\.png can't be read as a picture .* Repair or remove it"),
        (make_empty_file, r"red/9\.jpg can't be read as a picture"),
        (make_text, r"notes\.txt is no picture: allowed are \.png"),
        (make_test_only, r"has a folder test/ and no folder train/"),
        (make_float, r"9\.tif can't be read as a picture \(its pixels are floating-point numbers"),
        (make_rare, r"class 'green' has 2 different sample\(s\), and at least 3 are needed"),
    ],
)
def test_bad_pictures_are_named_with_the_next_step(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write_pictures(tmp_path, {"red": 6, "blue": 6})
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        read_kind("image_folder", tmp_path, size=[4, 4])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "has no folders. Make one for each class"),
        ({"red": 5}, "has the class 'red' only"),
        ({"train/red": 3, "train/blue": 3}, "has a folder train/ and no folder test/"),
        ({"train/red": 3, "train/blue": 3, "test/green": 1}, "has the class green, which .*train does not have"),
    ],
)
def test_folders_that_are_no_classification_are_refused(counts: dict[str, int], message: str, tmp_path: Path) -> None:
    write_pictures(tmp_path, counts)
    with pytest.raises(DataError, match=message):
        read_kind("image_folder", tmp_path, size=[4, 4])


def test_files_of_the_operating_system_are_left_out(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 4, "blue": 4, ".hidden": 1})
    for name in ("red/.DS_Store", "red/Thumbs.db", "README.txt"):
        (tmp_path / name).write_text("x")
    splits = read_kind("image_folder", tmp_path, size=[4, 4]).splits
    assert sum(len(y) for _, y in splits.values()) == 8


def test_a_metric_of_values_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 4, "blue": 4})
    with pytest.raises(DataError, match="'rmse' is a metric of values"):
        read_kind("image_folder", tmp_path, size=[4, 4], metric="rmse")
