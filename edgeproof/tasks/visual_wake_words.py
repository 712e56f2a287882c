"""Visual wake words: is there a person in a 96×96 picture?

Chowdhery et al., "Visual Wake Words Dataset" (2019): pictures of COCO are labelled by their annotations. Three kinds of
files are accepted:

- the archive of MLPerf Tiny, which has these pictures at 96×96;
- COCO 2017 (or 2014) itself, which convert() labels by the official rule and makes smaller;
- any pictures in the folders person and not_person. Those in a folder test are the test split. Without one, it is a
  tenth of the pictures, chosen by their names.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

SIDE = 96
CLASSES = ("not_person", "person")
INPUTS = (Port("image", (3, SIDE, SIDE)),)
OUTPUTS = (Port("logits", (len(CLASSES),)),)
METRICS = ("accuracy",)
VIEWS = 1  # augment() mirrors

# Names of folders → classes. The archive of MLPerf Tiny has non_person.
LABELS = {"person": 1, "not_person": 0, "non_person": 0}
TEST = "test"
TEST_SHARE = 0.1
# All pictures of COCO as float32 would need 12 GB of memory.
MAX_PICTURES = {"train": 20_000, "test": 5_000}

# COCO with its own folders: annotations/instances_train2017.json and train2017/*.jpg, and val2017 in the same way.
COCO = "coco"
PERSON = "person"
MIN_AREA = 0.005  # of the picture

ZOOM, SHIFT, BRIGHTNESS = 0.15, 0.1, 0.2

# The name of a picture, such as test/person/1.jpg, and a function that reads it.
Picture = tuple[str, Callable[[], bytes]]


def data(files: Mapping[str, Path], *, validation_samples: int, seed: int) -> dict[str, tuple[Array, Array]]:
    """Read the pictures, and split validation samples off the training samples by `seed`.

    Returns uint8 pictures (N, 3, 96, 96) and labels (N,), where 1 is a person, of train, validation and test. Raises
    DataError for a damaged picture, another folder, or too few pictures.
    """
    pictures = dict(_list_pictures(files))
    names = choose_pictures(pictures)
    if len(names["train"]) <= validation_samples or not names["test"]:
        raise DataError(
            f"{len(names['train'])} pictures to train on and {len(names['test'])} to test on are too few for "
            f"{validation_samples} validation samples"
        )
    order = np.random.default_rng(seed).permutation(len(names["train"]))
    parts = {
        "train": [names["train"][n] for n in np.sort(order[validation_samples:])],
        "validation": [names["train"][n] for n in np.sort(order[:validation_samples])],
        "test": names["test"],
    }
    return {
        split: (
            np.stack([read_picture(pictures[name](), name).transpose(2, 0, 1) for name in part]),
            np.array([find_label(name) for name in part]),
        )
        for split, part in parts.items()
    }


def choose_pictures(names: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the names of the pictures to train and to test on, at most MAX_PICTURES of each.

    They depend only on the names: other pictures in the same folder, or another seed, move none into the test split.
    """
    places = {name: _hash_name(name) for name in names}
    has_split = any(TEST in PurePosixPath(name).parts for name in names)
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for name in sorted(names, key=lambda name: (places[name], name)):
        is_test = TEST in PurePosixPath(name).parts if has_split else places[name] < TEST_SHARE
        part = parts["test" if is_test else "train"]
        if len(part) < MAX_PICTURES["test" if is_test else "train"]:
            part.append(name)
    return {split: sorted(part) for split, part in parts.items()}


def _hash_name(name: str) -> float:
    """Return a number from 0 to 1 that depends on the file's name, and not on its folder or suffix."""
    return int.from_bytes(hashlib.sha256(PurePosixPath(name).stem.encode()).digest()[:4], "big") / 2**32


def find_label(name: str) -> int:
    """Return the class of a picture by its folder. Raises DataError for another folder."""
    folder = PurePosixPath(name).parent.name
    if folder not in LABELS:
        raise DataError(f"the picture {name} is in none of the folders {', '.join(LABELS)}")
    return LABELS[folder]


def _list_pictures(files: Mapping[str, Path]) -> Iterator[Picture]:
    for name, path in files.items():
        if path.name.endswith(".tar.gz"):
            yield from _list_archive(path)
        else:
            yield name, path.read_bytes


def _list_archive(path: Path) -> Iterator[Picture]:
    """Yield the pictures of an archive, which are kept in memory: 235 MB. Nothing is unpacked onto the disk."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(".jpg") else None
                if content is not None:
                    yield member.name, io.BytesIO(content.read()).getvalue
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path.name} is a damaged archive ({error})") from error


def read_picture(content: bytes, name: str) -> Array:
    """Return a JPEG or PNG as uint8 (96, 96, 3), resized without regard to its shape. Raises DataError."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as picture:
            resized = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is no picture ({error})") from error
    return np.asarray(resized)


def preprocess(raw: Array) -> Array:
    """Scale uint8 pictures to float32 from -1 to 1."""
    return raw.astype(np.float32) / np.float32(127.5) - np.float32(1)


def view(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the pictures themselves, which are the only view."""
    return x


def augment(x: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of the pictures, zoom and shift each at random, and change the brightness of each colour."""
    import torch
    from torch.nn import functional

    def draw(spread: float, *shape: int) -> torch.Tensor:
        return (2 * torch.rand(len(x), *shape, generator=generator) - 1) * spread

    zoom = 1 + draw(ZOOM, 1)
    factor = torch.cat([zoom * draw(1.0, 1).sign(), zoom], 1)
    maps = torch.cat([torch.diag_embed(factor), draw(SHIFT, 2, 1)], 2)
    grid = functional.affine_grid(maps, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return (moved + draw(BRIGHTNESS, 3, 1, 1)).clamp(-1, 1), targets


def convert(folder: Path, form: str, into: Path) -> None:
    """Write pictures of COCO as 96×96 PNG files, labelled by the official rule. Raises DataError."""
    from PIL import Image

    if form != COCO:
        raise DataError(f"the form '{form}' is unknown; allowed: {COCO}")
    for split, limit, prefix in (("train", MAX_PICTURES["train"], "train"), (TEST, MAX_PICTURES["test"], "val")):
        path = _find_annotations(folder, prefix)
        labels = label_pictures(_read_json(path))
        chosen = sorted(labels, key=lambda name: (_hash_name(name), name))[:limit]
        for name in chosen:
            source = folder / path.stem.removeprefix("instances_") / PurePosixPath(name).name
            target = into / split / CLASSES[labels[name]] / f"{source.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not source.is_file():
                raise DataError(f"COCO has no picture {source.name} in {source.parent.name}")
            Image.fromarray(read_picture(source.read_bytes(), name)).save(target)


def label_pictures(annotations: Mapping[str, Any]) -> dict[str, int]:
    """Return the class of each picture in annotations of COCO, by file name.

    It is a person if the area of one person is more than 0.5% of the picture's. The area is that of the annotation, as
    in the official scripts (pyvww, create_visualwakewords_annotations.py). Raises DataError.
    """
    try:
        person = next(item["id"] for item in annotations["categories"] if item["name"] == PERSON)
        sizes = {item["id"]: item["width"] * item["height"] for item in annotations["images"]}
        with_person = {
            item["image_id"]
            for item in annotations["annotations"]
            if item["category_id"] == person and item["area"] / sizes[item["image_id"]] > MIN_AREA
        }
        return {item["file_name"]: int(item["id"] in with_person) for item in annotations["images"]}
    except (KeyError, TypeError, StopIteration, ZeroDivisionError) as error:
        raise DataError(f"the annotations are not those of COCO ({type(error).__name__}: {error})") from error


def _find_annotations(folder: Path, prefix: str) -> Path:
    paths = sorted((folder / "annotations").glob(f"instances_{prefix}20[0-9][0-9].json"))
    if not paths:
        raise DataError(f"COCO has no annotations/instances_{prefix}2017.json")
    return paths[-1]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is damaged ({error})") from error
    return content


def fixture() -> dict[str, bytes]:
    """Return 40 small pictures of noise in the folders of both classes and splits."""
    from PIL import Image

    random = np.random.default_rng(0)
    files = {}
    for number in range(40):
        picture = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(picture, "JPEG")
        split = TEST if number % 4 == 0 else "train"
        files[f"{split}/{CLASSES[number // 4 % 2]}/{number}.jpg"] = picture.getvalue()
    return files
