"""Detection of blood cells: red and white cells and platelets in 364 photographs of a microscope (BCCD).

The data set is github.com/Shenggan/BCCD_Dataset (MIT), with its own split of 205, 87 and 72 pictures, which are resized
to 192×256. At each position of a grid, a network gives a score for every class and the distances to the four sides of a
box. postprocess() turns them into detections.

The loss follows FCOS (Tian et al., 2019) with the quality focal loss (Li et al., "Generalized Focal Loss", 2020), whose
target is the overlap of the predicted box, and GIoU (Rezatofighi et al., "Generalized Intersection over Union", 2019).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from edgeproof.core import boxes, photographs
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

CLASSES = ("RBC", "WBC", "Platelets")
HEIGHT, WIDTH = 192, 256
STRIDE = 8
MAX_DETECTIONS = 100

INPUTS = (Port("image", (3, HEIGHT, WIDTH)),)
GRID = (HEIGHT // STRIDE, WIDTH // STRIDE)
OUTPUTS = (Port("scores", (len(CLASSES), *GRID)), Port("distances", (4, *GRID)))
POSTPROCESSED = (Port("detections", (MAX_DETECTIONS, 6)),)
METRICS = ("map_50", "map_50_95")
# A bundle resizes a photograph as _read_picture() does, and keeps its shape if it is another than 4:3.
PICTURES = photographs.LETTERBOX
VIEWS = 1  # augment() mirrors, which changes the boxes too

IMAGES, LABELS = "images.zip", "labels.json"
# The form of the repository: JPEGImages, Annotations in the format of PASCAL VOC, ImageSets/Main with the splits.
VOC = "voc"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_SIDES = ("xmin", "ymin", "xmax", "ymax")
PADDING = -1.0

MIN_SCORE = 0.02
CANDIDATES = 300
MAX_OVERLAP = 0.6

# A position is right for a box if it is at most this many strides from its centre, in both directions.
CENTRE_RADIUS = 1.5
BOX_WEIGHT = 2.0
ZOOM, SHIFT, BRIGHTNESS, CONTRAST = 0.2, 0.1, 0.2, 0.2
MIN_VISIBLE = 0.3


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the pictures and boxes in the split of the data set, which does not depend on the seed.

    The first `validation_samples` of its validation pictures are the validation split. The others, if any, are trained
    on. Returns uint8 pictures (N, 3, 192, 256) and boxes (N, B, 5) of train, validation and test, with the rows class,
    x1, y1, x2, y2 in pixels of these pictures, padded with the class -1. Raises DataError for files of another format.
    """
    entries = _read_labels(files[LABELS])
    most = max(len(entry["boxes"]) for entry in entries)
    parts: dict[str, list[tuple[Array, Array]]] = {"train": [], "validation": [], "test": []}
    try:
        with zipfile.ZipFile(files[IMAGES]) as archive:
            for entry in entries:
                name = _SPLITS[entry["split"]]
                if name == "validation" and len(parts[name]) == validation_samples:
                    name = "train"
                parts[name].append((_read_picture(archive.read(entry["file"])), _scale_boxes(entry, most)))
    except (zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
        raise DataError(f"{IMAGES} and {LABELS} are damaged or do not fit together ({error})") from error
    if len(parts["validation"]) < validation_samples or not parts["train"] or not parts["test"]:
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise DataError(f"{validation_samples} validation samples are asked for, and there are {counts} pictures")
    return {name: (np.stack([x for x, _ in part]), np.stack([y for _, y in part])) for name, part in parts.items()}


def _read_labels(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
        if tuple(content["classes"]) != CLASSES or not content["images"]:
            raise DataError(f"{path.name} has the classes {content['classes']}, expected {CLASSES}")
        entries: list[dict[str, Any]] = content["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} is damaged ({type(error).__name__}: {error})") from error
    return entries


def _read_picture(content: bytes) -> Array:
    """Return a picture as uint8 (3, 192, 256). The photographs have the same shape, so nothing is cut or padded."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
        resized = picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def _scale_boxes(entry: Mapping[str, Any], most: int) -> Array:
    """Return the boxes of a picture in pixels of the network's input, without the empty ones among them."""
    padded = np.full((most, 5), PADDING, np.float32)
    scale = np.array([WIDTH / entry["w"], HEIGHT / entry["h"]] * 2)
    rows = [row for row in entry["boxes"] if row[1] < row[3] and row[2] < row[4]]
    for place, (number, *corners) in zip(padded, rows, strict=False):
        place[0], place[1:] = number, corners * scale
    return padded


def preprocess(raw: Array) -> Array:
    """Scale uint8 pictures to float32 from -1 to 1."""
    return raw.astype(np.float32) / np.float32(127.5) - np.float32(1)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the pictures themselves, which are the only view."""
    return x


def postprocess(scores: Array, distances: Array) -> tuple[Array]:
    """Return the detections of one picture from the outputs of a network, float32 (1, 100, 6).

    The rows x1, y1, x2, y2, score, class are in order of falling scores and padded with the score -1.
    """
    logits = scores.reshape(-1)  # class by class
    places = np.flatnonzero(logits > np.log(MIN_SCORE / (1 - MIN_SCORE)))
    places = places[np.argsort(-logits[places], kind="stable")[:CANDIDATES]]
    classes, positions = np.divmod(places, GRID[0] * GRID[1])
    decoded = boxes.decode_distances(distances.reshape(4, -1)[:, positions], positions, GRID[1], STRIDE)
    decoded = np.clip(decoded, 0, np.array([WIDTH, HEIGHT] * 2, np.float32))
    kept = boxes.suppress(decoded, classes, MAX_OVERLAP, MAX_DETECTIONS)
    detections = np.full((1, MAX_DETECTIONS, 6), PADDING, np.float32)
    detections[0, : len(kept), :4] = decoded[kept]
    detections[0, : len(kept), 4] = 1 / (1 + np.exp(-logits[places[kept]].astype(np.float32)))
    detections[0, : len(kept), 5] = classes[kept]
    return (detections,)


def augment(x: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror, zoom and shift each picture with its boxes at random, and change its brightness and contrast.

    Boxes are cut at the border of the picture, and dropped if less than MIN_VISIBLE of their area is left.
    """
    import torch
    from torch.nn import functional

    count = len(x)

    def draw(spread: float, *shape: int) -> torch.Tensor:
        return (2 * torch.rand(count, *shape, generator=generator) - 1) * spread

    # A place p of the new picture shows the place factor · p + shift of the old one, from -1 to 1 in both directions.
    factor = draw(1.0, 2).sign() * (1 + draw(ZOOM, 1))
    shift = draw(SHIFT, 2)
    grid = functional.affine_grid(torch.cat([torch.diag_embed(factor), shift[:, :, None]], 2), list(x.shape), False)
    moved = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    moved = moved * (1 + draw(CONTRAST, 1, 1, 1)) + draw(BRIGHTNESS, 3, 1, 1)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    corners = targets[..., 1:].reshape(count, -1, 2, 2) / size * 2 - 1
    corners = ((corners - shift[:, None, None]) / factor[:, None, None]).sort(dim=2).values
    visible = corners.clamp(-1, 1)
    kept = (targets[..., 0] >= 0) & (_compute_areas(visible) >= MIN_VISIBLE * _compute_areas(corners))
    rows = torch.cat([targets[..., :1], ((visible + 1) / 2 * size).flatten(-2)], -1)
    return moved.clamp(-1, 1), torch.where(kept[..., None], rows, PADDING)


def _compute_areas(corners: torch.Tensor) -> torch.Tensor:
    return (corners[..., 1, :] - corners[..., 0, :]).prod(-1)


def loss(outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return the quality focal loss of the scores plus the GIoU loss of the boxes, for each position with a box."""
    import torch

    scores, predicted = outputs[0].flatten(2), _decode(outputs[1])
    owner, positive = assign(targets)
    rows = torch.gather(targets, 1, owner[..., None].expand(-1, -1, 5))[positive]
    iou, giou = compare_boxes(predicted[positive], rows[:, 1:])
    quality = torch.zeros_like(scores).transpose(1, 2)
    picture, position = positive.nonzero(as_tuple=True)
    quality[picture, position, rows[:, 0].long()] = iou.detach()
    count = max(len(rows), 1)
    return (_focal_loss(scores, quality.transpose(1, 2)) + BOX_WEIGHT * (1 - giou).sum()) / count


def distillation_loss(
    outputs: tuple[torch.Tensor, torch.Tensor], teacher_outputs: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Return the same two losses with the teacher's scores and boxes as the truth, weighted by its scores."""
    quality = teacher_outputs[0].flatten(2).sigmoid()
    weight = quality.amax(1)
    _, giou = compare_boxes(_decode(outputs[1]), _decode(teacher_outputs[1]))
    total = _focal_loss(outputs[0].flatten(2), quality) + BOX_WEIGHT * (weight * (1 - giou)).sum()
    return total / weight.sum().clamp_min(1.0)


def _focal_loss(scores: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return the sum of (sigmoid(score) - quality)² · binary cross-entropy."""
    from torch.nn import functional

    entropy = functional.binary_cross_entropy_with_logits(scores, quality, reduction="none")
    return ((scores.sigmoid() - quality).square() * entropy).sum()


def assign(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each position of the grid the index (N, P) of its box, and whether it has one.

    A position belongs to a box if it is inside of it and near its centre, or the nearest to its centre. Of several
    boxes it belongs to the smallest.
    """
    import torch

    centres = _list_centres()
    low, high = targets[:, :, None, 1:3], targets[:, :, None, 3:5]
    offsets = (centres - (low + high) / 2).abs().amax(-1)
    inside = ((centres > low) & (centres < high)).all(-1) & (offsets <= CENTRE_RADIUS * STRIDE)
    nearest = torch.arange(len(centres)) == offsets.argmin(-1, keepdim=True)
    areas = (high - low).prod(-1)
    areas = torch.where((inside | nearest) & (targets[..., :1] >= 0), areas, torch.inf)
    smallest, owner = areas.min(1)
    return owner, smallest.isfinite()


def _list_centres() -> torch.Tensor:
    """Return x and y of the centre of each position (P, 2), row by row."""
    import torch

    y, x = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
    return (torch.stack([x, y], -1).flatten(0, 1) + 0.5) * STRIDE


def _decode(distances: torch.Tensor) -> torch.Tensor:
    """Return the boxes (N, P, 4) of all positions, as boxes.decode_distances() does."""
    import torch
    from torch.nn import functional

    sides = functional.softplus(distances.flatten(2)).transpose(1, 2) * STRIDE
    centres = _list_centres()
    return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)


def compare_boxes(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the intersection over union and the GIoU of pairs of boxes (…, 4)."""
    import torch

    def measure(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return (high - low).clamp_min(0).prod(-1)

    corners = torch.stack([one, other])
    low, high = corners[..., :2], corners[..., 2:]
    common = measure(low.amax(0), high.amin(0))
    union = measure(low, high).sum(0) - common
    hull = measure(low.amin(0), high.amax(0))
    iou = common / union
    return iou, iou - (hull - union) / hull


def convert(folder: Path, form: str, into: Path) -> None:
    """Write images.zip and labels.json from the repository's pictures and annotations. Raises DataError."""
    if form != VOC:
        raise DataError(f"the form '{form}' is unknown; allowed: {VOC}")
    try:
        splits = {name: set((folder / f"ImageSets/Main/{name}.txt").read_text().split()) for name in _SPLITS}
        pictures = sorted((folder / "JPEGImages").glob("*.jpg"))
        entries = [_read_annotation(folder / f"Annotations/{path.stem}.xml", path, splits) for path in pictures]
        # Fixed dates and no compression make the same bytes everywhere.
        with zipfile.ZipFile(into / IMAGES, "w") as archive:
            for path in pictures:
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    except (OSError, ValueError, AttributeError, TypeError, StopIteration, ElementTree.ParseError) as error:
        raise DataError(f"the annotations are damaged ({type(error).__name__}: {error})") from error
    labels = {"classes": CLASSES, "format": "[class, xmin, ymin, xmax, ymax] pixels", "images": entries}
    (into / LABELS).write_text(json.dumps(labels), encoding="utf-8")


def _read_annotation(path: Path, picture: Path, splits: Mapping[str, set[str]]) -> dict[str, Any]:
    root = ElementTree.parse(path).getroot()  # noqa: S314 - Python's expat refuses entities that grow without limit

    def read(element: ElementTree.Element, name: str) -> float:
        return float(str(element.findtext(name)))

    rows = [
        [CLASSES.index(str(item.findtext("name"))), *(read(item, f"bndbox/{side}") for side in _SIDES)]
        for item in root.iter("object")
    ]
    split = next(name for name, members in splits.items() if picture.stem in members)
    size = {"w": int(read(root, "size/width")), "h": int(read(root, "size/height"))}
    return {"file": picture.name, "split": split, **size, "boxes": rows}


def fixture() -> dict[str, bytes]:
    """Return 26 small pictures of noise with one or two boxes each."""
    from PIL import Image

    random = np.random.default_rng(0)
    entries, pictures = [], io.BytesIO()
    with zipfile.ZipFile(pictures, "w") as archive:
        for number, split in enumerate(["train"] * 12 + ["val"] * 10 + ["test"] * 4):
            noise = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(noise, "JPEG")
            archive.writestr(f"{number}.jpg", noise.getvalue())
            rows = [[n % len(CLASSES), 4.0 + n, 6.0, 30.0 + n, 40.0] for n in range(1 + number % 2)]
            entries.append({"file": f"{number}.jpg", "split": split, "w": 64, "h": 48, "boxes": rows})
    return {
        IMAGES: pictures.getvalue(),
        LABELS: json.dumps({"classes": CLASSES, "images": entries}).encode(),
    }


RAW_INPUTS = photographs.make_raw_inputs(WIDTH, HEIGHT, PICTURES, preprocess)
