"""Detection: decoding and suppression against plain loops, the loss against its formula, targets and conversion."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeproof.core.errors import DataError
from edgeproof.metrics import map_50
from edgeproof.tasks import detection as task

ROWS, COLUMNS = task.GRID
Labels = dict[str, list[dict[str, list[list[float]]]]]


def write_fixture(folder: Path, change: Callable[[Labels], None]) -> dict[str, Path]:
    contents = task.fixture()
    labels = json.loads(contents[task.LABELS])
    change(labels)
    contents[task.LABELS] = json.dumps(labels).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


# --- data ----------------------------------------------------------------------------------------------------------


def test_the_split_is_that_of_the_data_set_and_boxes_are_in_pixels_of_the_input(tmp_path: Path) -> None:
    splits = task.data(write_fixture(tmp_path, lambda labels: None), validation_samples=10, seed=5)
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 12, "validation": 10, "test": 4}
    images, boxes = splits["test"]  # pictures 22 to 25, of 64×48 pixels
    assert images.shape == (4, 3, 192, 256)
    assert boxes.dtype == np.float32
    assert boxes[0].tolist() == [[0, 16, 24, 120, 160], [-1] * 5]
    assert boxes[1].tolist() == [[0, 16, 24, 120, 160], [1, 20, 24, 124, 160]]
    with zipfile.ZipFile(tmp_path / task.IMAGES) as archive:
        picture = Image.open(io.BytesIO(archive.read("22.jpg"))).resize((256, 192), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(images[0], np.asarray(picture).transpose(2, 0, 1))


def test_validation_pictures_that_are_not_asked_for_are_trained_on(tmp_path: Path) -> None:
    files = write_fixture(tmp_path, lambda labels: None)
    splits = task.data(files, validation_samples=4, seed=0)
    assert {name: len(y) for name, (_, y) in splits.items()} == {"train": 18, "validation": 4, "test": 4}
    with pytest.raises(DataError, match="11 validation samples"):
        task.data(files, validation_samples=11, seed=0)


def test_empty_boxes_are_left_out(tmp_path: Path) -> None:
    def add_empty(labels: Labels) -> None:
        labels["images"][0]["boxes"].insert(0, [0, 10.0, 10.0, 10.0, 20.0])

    _, boxes = task.data(write_fixture(tmp_path, add_empty), validation_samples=10, seed=0)["train"]
    assert boxes[0, 0].tolist() == [0, 16, 24, 120, 160]
    assert boxes[0, 1, 0] == -1


@pytest.mark.parametrize("name", [task.IMAGES, task.LABELS])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no more", b'{"classes": ["cat"], "images": []}'])
def test_damaged_files_are_a_data_error(tmp_path: Path, name: str, content: bytes) -> None:
    files = write_fixture(tmp_path, lambda labels: None)
    files[name].write_bytes(content)
    with pytest.raises(DataError):
        task.data(files, validation_samples=10, seed=0)


def test_pixels_are_scaled_to_minus_one_to_one() -> None:
    assert task.preprocess(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([-1.0, -0.6, 1.0])


ANNOTATION = """<annotation><size><width>640</width><height>480</height></size>{objects}</annotation>"""
OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
    "<ymax>{box[3]}</ymax></bndbox></object>"
)


def write_repository(folder: Path) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number, split in enumerate(("val", "train", "test")):
        (folder / f"JPEGImages/B_{number}.jpg").write_bytes(bytes([number]) * 9)
        objects = OBJECT.format(name=task.CLASSES[number], box=(1, 2 + number, 30, 40))
        (folder / f"Annotations/B_{number}.xml").write_text(ANNOTATION.format(objects=objects))
        (folder / f"ImageSets/Main/{split}.txt").write_text(f"B_{number}\n")


def test_the_repository_becomes_the_same_two_files_each_time(tmp_path: Path) -> None:
    write_repository(tmp_path / "BCCD")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        task.convert(tmp_path / "BCCD", "voc", tmp_path / name)
        made.append([(tmp_path / name / file).read_bytes() for file in (task.IMAGES, task.LABELS)])
    assert made[0] == made[1]
    with zipfile.ZipFile(io.BytesIO(made[0][0])) as archive:
        assert [archive.read(f"B_{n}.jpg") for n in range(3)] == [bytes([n]) * 9 for n in range(3)]
    labels = json.loads(made[0][1])
    assert labels["classes"] == ["RBC", "WBC", "Platelets"]
    assert labels["images"][1] == {
        "file": "B_1.jpg",
        "split": "train",
        "w": 640,
        "h": 480,
        "boxes": [[1, 1.0, 3.0, 30.0, 40.0]],
    }


@pytest.mark.parametrize("damage", ["xml", "class", "number", "split", "no split", "form"])
def test_a_damaged_repository_is_a_data_error(tmp_path: Path, damage: str) -> None:
    write_repository(tmp_path)
    annotation = tmp_path / "Annotations/B_1.xml"
    if damage == "xml":
        annotation.write_text("<annotation>")
    elif damage == "class":
        annotation.write_text(annotation.read_text().replace("WBC", "cat"))
    elif damage == "number":
        annotation.write_text(annotation.read_text().replace("640", "wide"))
    elif damage == "split":
        (tmp_path / "ImageSets/Main/train.txt").write_text("B_7")
    elif damage == "no split":
        (tmp_path / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(DataError):
        task.convert(tmp_path, "coco" if damage == "form" else "voc", tmp_path)


# --- detections ----------------------------------------------------------------------------------------------------


def detect_slowly(scores: np.ndarray, distances: np.ndarray) -> list[list[float]]:
    """Decode every position and suppress overlapping boxes with plain loops: the algorithm as textbooks state it."""
    detections: list[list[float]] = []
    for number in range(scores.shape[1]):
        for row in range(ROWS):
            for column in range(COLUMNS):
                score = 1 / (1 + math.exp(-scores[0, number, row, column]))
                if score <= task.MIN_SCORE:
                    continue
                left, top, right, bottom = (8 * math.log1p(math.exp(d)) for d in distances[0, :, row, column])
                x, y = 8 * column + 4, 8 * row + 4
                box = [max(x - left, 0), max(y - top, 0), min(x + right, 256), min(y + bottom, 192)]
                detections.append([*box, score, number])
    detections.sort(key=lambda item: -item[4])
    kept: list[list[float]] = []
    for item in detections[: task.CANDIDATES]:
        if all(other[5] != item[5] or overlap(other, item) <= task.MAX_OVERLAP for other in kept):
            kept.append(item)
    return kept[: task.MAX_DETECTIONS]


def overlap(one: list[float], other: list[float]) -> float:
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


@pytest.mark.parametrize("seed", range(4))
def test_detections_equal_those_of_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(-4.5, 1.0, (1, 3, ROWS, COLUMNS)).astype(np.float32)
    distances = random.normal(2.0, 1.0, (1, 4, ROWS, COLUMNS)).astype(np.float32)
    (detections,) = task.postprocess(scores, distances)
    expected = detect_slowly(scores, distances)
    assert len(expected) > 20
    assert detections.dtype == np.float32
    np.testing.assert_allclose(detections[0, : len(expected)], expected, rtol=1e-4, atol=1e-3)
    assert (detections[0, len(expected) :] == -1).all()


def test_a_picture_without_cells_has_only_padding() -> None:
    (detections,) = task.postprocess(
        np.full((1, 3, ROWS, COLUMNS), -9, np.float32), np.zeros((1, 4, ROWS, COLUMNS), np.float32)
    )
    assert detections.shape == (1, *task.POSTPROCESSED[0].shape)
    assert (detections == -1).all()


def test_scores_at_the_limits_of_float32_give_finite_detections() -> None:
    scores = np.full((1, 3, ROWS, COLUMNS), 1e4, np.float32)
    distances = np.where(np.arange(COLUMNS) % 2, 1e4, -1e4).astype(np.float32)
    (detections,) = task.postprocess(scores, np.broadcast_to(distances, (1, 4, ROWS, COLUMNS)))
    assert np.isfinite(detections).all()


# --- the loss ------------------------------------------------------------------------------------------------------


def make_targets() -> torch.Tensor:
    """Return two pictures: one with a large box around a small one and a box of less than a position, one without."""
    large, small, tiny = [0.0, 40, 40, 140, 120], [2.0, 80, 70, 100, 90], [1.0, 201, 101, 203, 103]
    return torch.tensor([[large, small, tiny], [[-1.0] * 5] * 3])


def make_perfect_outputs(targets: torch.Tensor, certainty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs that give each position its box, and its class a high score."""
    owner, positive = task.assign(targets)
    scores = torch.full((len(targets), 3, ROWS, COLUMNS), -certainty)
    distances = torch.zeros(len(targets), 4, ROWS, COLUMNS)
    for picture, position in positive.nonzero().tolist():
        number, *box = targets[picture, owner[picture, position]].tolist()
        row, column = divmod(position, COLUMNS)
        x, y = 8 * column + 4, 8 * row + 4
        sides = torch.tensor([x - box[0], y - box[1], box[2] - x, box[3] - y]).clamp_min(1e-3) / 8
        distances[picture, :, row, column] = torch.log(torch.expm1(sides))  # the inverse of softplus
        scores[picture, int(number), row, column] = certainty
    return scores, distances


def test_a_position_belongs_to_the_smallest_box_around_whose_centre_it_lies() -> None:
    targets = make_targets()
    owner, positive = task.assign(targets)
    for position in range(ROWS * COLUMNS):
        row, column = divmod(position, COLUMNS)
        x, y = 8 * column + 4, 8 * row + 4
        candidates = [
            ((x2 - x1) * (y2 - y1), number)
            for number, (_, x1, y1, x2, y2) in enumerate(targets[0].tolist())
            if x1 < x < x2 and y1 < y < y2 and max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) <= 12
        ]
        if candidates:
            assert positive[0, position]
            assert owner[0, position] == min(candidates)[1]
    tiny = [n for n in range(ROWS * COLUMNS) if positive[0, n] and owner[0, n] == 2]
    assert tiny == [12 * COLUMNS + 25]  # the nearest position, although its centre is outside of the box
    assert not positive[1].any()


def test_the_loss_of_perfect_outputs_is_nearly_zero_and_they_reach_a_map_of_one() -> None:
    targets = make_targets()[:, :2]  # a box must contain the centre of a position
    outputs = make_perfect_outputs(targets, 12.0)
    assert task.loss(outputs, targets, torch.empty(0)) < 1e-3
    assert task.loss((-outputs[0], outputs[1]), targets, torch.empty(0)) > 1
    detections = np.concatenate([task.postprocess(*(o[n : n + 1].numpy() for o in outputs))[0] for n in range(2)])
    assert map_50.compute(map_50.collect((detections,), targets.numpy())) == pytest.approx(1.0)


def test_the_loss_equals_its_formula_summed_position_by_position() -> None:
    targets = make_targets()
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    distances = torch.randn(2, 4, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    owner, positive = task.assign(targets)
    total = 0.0
    for picture in range(2):
        for position in range(ROWS * COLUMNS):
            row, column = divmod(position, COLUMNS)
            quality = [0.0] * 3
            if positive[picture, position]:
                number, *box = targets[picture, owner[picture, position]].tolist()
                left, top, right, bottom = (
                    8 * math.log1p(math.exp(d)) for d in distances[picture, :, row, column].tolist()
                )
                x, y = 8 * column + 4, 8 * row + 4
                predicted = [x - left, y - top, x + right, y + bottom]
                quality[int(number)] = overlap(predicted, box)
                total += task.BOX_WEIGHT * (1 - compute_giou(predicted, box))
            for target, logit in zip(quality, scores[picture, :, row, column].tolist(), strict=True):
                p = 1 / (1 + math.exp(-logit))
                total -= (p - target) ** 2 * (target * math.log(p) + (1 - target) * math.log(1 - p))
    actual = task.loss((scores, distances), targets.double(), torch.empty(0))
    assert float(actual) == pytest.approx(total / int(positive.sum()), rel=1e-5)


def compute_giou(one: list[float], other: list[float]) -> float:
    hull = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    iou = overlap(one, other)
    union = areas / (1 + iou)
    return iou - (hull - union) / hull


def test_the_loss_of_pictures_without_boxes_is_finite_and_has_gradients() -> None:
    scores = torch.zeros(2, 3, ROWS, COLUMNS, requires_grad=True)
    distances = torch.zeros(2, 4, ROWS, COLUMNS, requires_grad=True)
    value = task.loss((scores, distances), torch.full((2, 5, 5), -1.0), torch.empty(0))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert scores.grad is not None
    assert scores.grad.abs().sum() > 0


def test_the_distillation_loss_is_least_for_the_outputs_of_the_teacher() -> None:
    teacher = make_perfect_outputs(make_targets(), 3.0)
    same = task.distillation_loss(teacher, teacher)
    for changed in ((teacher[0] + 0.5, teacher[1]), (teacher[0], teacher[1] + 0.5)):
        assert task.distillation_loss(changed, teacher) > same


# --- augmentation --------------------------------------------------------------------------------------------------


def test_boxes_move_with_their_pictures() -> None:
    """Draw a bright rectangle for each box. In the augmented picture, the new box is where the rectangle is."""
    targets = torch.tensor([[[0.0, 96, 72, 160, 120], [-1] * 5]]).repeat(40, 1, 1)
    pictures = torch.full((40, 3, task.HEIGHT, task.WIDTH), -0.5)
    pictures[:, :, 72:120, 96:160] = 0.5
    moved, boxes = task.augment(pictures, targets, torch.Generator().manual_seed(0))
    assert boxes.shape == targets.shape
    assert (boxes[:, 1] == -1).all()
    for picture, (number, x1, y1, x2, y2) in zip(moved.mean(1), boxes[:, 0].tolist(), strict=True):
        bright = picture > (picture.amax() + picture.amin()) / 2
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        assert number == 0
        edges = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        assert [x1, y1, x2, y2] == pytest.approx(edges, abs=1.5)
    assert boxes[:, 0, 1].std() > 2


def test_a_box_that_leaves_the_picture_is_cut_or_dropped() -> None:
    corner = torch.tensor([[[1.0, 0, 0, 20, 20]]]).repeat(300, 1, 1)
    _, boxes = task.augment(torch.zeros(300, 3, task.HEIGHT, task.WIDTH), corner, torch.Generator().manual_seed(0))
    kept = boxes[boxes[:, 0, 0] == 1, 0]
    assert 0 < len(kept) < 300
    assert (boxes[boxes[:, 0, 0] != 1] == -1).all()
    assert (kept[:, 1:] >= 0).all()
    assert (kept[:, 3] <= 256).all()
    assert (kept[:, 4] <= 192).all()
    assert ((kept[:, 3] - kept[:, 1]) * (kept[:, 4] - kept[:, 2]) > 0).all()
