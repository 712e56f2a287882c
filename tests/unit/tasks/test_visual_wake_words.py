"""Visual wake words: the official rule, the split by names, and pictures from folders, an archive and COCO."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeproof.core.errors import DataError
from edgeproof.tasks import visual_wake_words as task


def make_picture(colour: tuple[int, int, int], size: tuple[int, int] = (96, 96), kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, kind)
    return content.getvalue()


def write_files(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


# --- folders -------------------------------------------------------------------------------------------------------


def test_the_folder_of_a_picture_is_its_label_and_test_pictures_stay_apart(tmp_path: Path) -> None:
    splits = task.data(write_files(tmp_path, task.fixture()), validation_samples=10, seed=0)
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 20, "validation": 10, "test": 10}
    expected = {
        np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1).tobytes(): name
        for name, content in task.fixture().items()
    }
    for split, (images, labels) in splits.items():
        for image, label in zip(images, labels, strict=True):
            name = expected[image.tobytes()]
            assert name.startswith("test/") == (split == "test")
            assert label == ("/person/" in name)


def test_without_a_test_folder_a_tenth_is_tested_on_whatever_else_is_there() -> None:
    names = {f"person/{n}.jpg": None for n in range(2000)}
    parts = task.choose_pictures(names)
    assert 150 < len(parts["test"]) < 250
    assert set(parts["test"]).isdisjoint(parts["train"])
    fewer = task.choose_pictures(dict.fromkeys(list(names)[:1000]))
    assert set(fewer["test"]) == set(parts["test"]) & set(list(names)[:1000])


def test_the_number_of_pictures_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MAX_PICTURES", {"train": 30, "test": 5})
    parts = task.choose_pictures({f"person/{n}.jpg": None for n in range(500)})
    assert (len(parts["train"]), len(parts["test"])) == (30, 5)


def test_pictures_are_resized_and_scaled_to_minus_one_to_one(tmp_path: Path) -> None:
    picture = task.read_picture(make_picture((255, 0, 51), (64, 200), "PNG"), "1.png")
    assert picture.shape == (96, 96, 3)
    inputs = task.preprocess(picture.transpose(2, 0, 1)[None])
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), [1.0, -1.0, -0.6], atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"GIF89a", make_picture((1, 2, 3))[:300]])
def test_a_damaged_picture_is_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError, match=r"person/1\.jpg"):
        task.read_picture(content, "person/1.jpg")


def test_a_picture_in_another_folder_is_a_data_error() -> None:
    assert [task.find_label(f"a/{folder}/1.jpg") for folder in ("person", "not_person", "non_person")] == [1, 0, 0]
    with pytest.raises(DataError, match=r"cats/1\.jpg"):
        task.find_label("cats/1.jpg")


def test_too_few_pictures_are_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        task.data(write_files(tmp_path, task.fixture()), validation_samples=30, seed=0)


# --- the archive ---------------------------------------------------------------------------------------------------


def write_archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number in range(60):
            name = f"vw/{'person' if number % 2 else 'non_person'}/{number}.jpg"
            content = make_picture((255, 255, 255) if number % 2 else (0, 0, 0))
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo("vw/person/folder.jpg/"))


def test_the_archive_is_read_without_unpacking_it(tmp_path: Path) -> None:
    write_archive(tmp_path / "vw.tar.gz")
    splits = task.data({"vw.tar.gz": tmp_path / "vw.tar.gz"}, validation_samples=5, seed=0)
    assert sum(len(y) for _, y in splits.values()) >= 60
    for images, labels in splits.values():
        assert ((images.mean((1, 2, 3)) > 127) == (labels == 1)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["vw.tar.gz"]


def test_a_truncated_archive_is_a_data_error(tmp_path: Path) -> None:
    write_archive(tmp_path / "whole.tar.gz")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "vw.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"vw\.tar\.gz"):
        task.data({"vw.tar.gz": tmp_path / "vw.tar.gz"}, validation_samples=5, seed=0)


# --- COCO ----------------------------------------------------------------------------------------------------------


def make_annotations(areas: list[tuple[str, int, float]]) -> dict[str, Any]:
    """Return annotations of one picture of 100×200 for each name, category and area."""
    return {
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "images": [{"id": n, "file_name": name, "width": 100, "height": 200} for n, (name, _, _) in enumerate(areas)],
        "annotations": [
            {"image_id": n, "category_id": category, "area": area, "bbox": [0, 0, 90, 190]}
            for n, (_, category, area) in enumerate(areas)
        ],
    }


def test_a_person_counts_above_half_a_percent_of_the_picture() -> None:
    # 0.5% of 100×200 are 100 pixels.
    annotations = make_annotations([("big.jpg", 1, 100.5), ("limit.jpg", 1, 100.0), ("dog.jpg", 18, 9000.0)])
    annotations["images"].append({"id": 99, "file_name": "empty.jpg", "width": 10, "height": 10})
    annotations["annotations"].append({"image_id": 1, "category_id": 1, "area": 60.0})  # two small ones don't add up
    labels = task.label_pictures(annotations)
    assert labels == {"big.jpg": 1, "limit.jpg": 0, "dog.jpg": 0, "empty.jpg": 0}


def write_coco(folder: Path) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split, number in (("train2017", 30), ("val2017", 8)):
        (folder / split).mkdir()
        areas = [(f"{split}_{n}.jpg", 1, 500.0 if n % 2 else 5.0) for n in range(number)]
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(make_annotations(areas)))
        for n, (name, _, _) in enumerate(areas):
            (folder / split / name).write_bytes(make_picture((200, 200, 200) if n % 2 else (20, 20, 20), (100, 200)))


def test_coco_becomes_pictures_in_the_folders_of_their_labels(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    task.convert(tmp_path / "coco", "coco", tmp_path / "into")
    paths = sorted((tmp_path / "into").rglob("*.png"))
    splits = task.data({str(path.relative_to(tmp_path / "into")): path for path in paths}, validation_samples=6, seed=0)
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 24, "validation": 6, "test": 8}
    for images, labels in splits.values():
        assert ((images.mean((1, 2, 3)) > 100) == (labels == 1)).all()


@pytest.mark.parametrize("damage", ["no annotations", "damaged", "no picture", "no person", "another form"])
def test_an_incomplete_coco_is_a_data_error(tmp_path: Path, damage: str) -> None:
    write_coco(tmp_path)
    annotations, form = tmp_path / "annotations/instances_val2017.json", "coco"
    if damage == "no annotations":
        annotations.unlink()
    elif damage == "damaged":
        annotations.write_text('{"images": [')
    elif damage == "no picture":
        (tmp_path / "val2017/val2017_3.jpg").unlink()
    elif damage == "no person":
        annotations.write_text('{"categories": [], "images": [], "annotations": []}')
    else:
        form = "voc"
    with pytest.raises(DataError):
        task.convert(tmp_path, form, tmp_path / "into")


# --- augmentation --------------------------------------------------------------------------------------------------


def test_augmentation_keeps_shape_range_and_labels_and_mirrors_half() -> None:
    ramp = torch.linspace(-0.5, 0.5, 96).expand(100, 3, 96, 96).contiguous()
    labels = torch.arange(100) % 2
    augmented, same = task.augment(ramp, labels, torch.Generator().manual_seed(0))
    assert torch.equal(same, labels)
    assert augmented.shape == ramp.shape
    assert augmented.abs().max() <= 1
    mirrored = augmented[:, 0, 48, 10] > augmented[:, 0, 48, 85]
    assert 30 < mirrored.sum() < 70
    # Rows stay rows: nothing is turned, and the picture is not upside down.
    assert torch.allclose(augmented[:, :, 20], augmented[:, :, 70], atol=1e-5)
