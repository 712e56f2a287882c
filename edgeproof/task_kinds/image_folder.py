"""Kind of task: a folder of your own pictures, with a folder for each class.

The folder has train/ and test/ (and validation/, if you like), each with the folders of the classes, or it has the
folders of the classes itself. Then the pictures are split: see data/own_splits.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edgeproof.config.own_data import OwnData
from edgeproof.core.described_tasks import DescribedInput, TaskDescription
from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port
from edgeproof.data import own_splits
from edgeproof.data.own_data import PreparedData
from edgeproof.data.own_targets import VALUE_METRICS
from edgeproof.data.pictures import SUFFIXES, decode_picture
from edgeproof.progress import Progress

# Files that operating systems write into folders of pictures.
_LITTER = ("thumbs.db", "desktop.ini")
# Pixels of 0..255 become -1..1.
MIDDLE = 127.5
MAX_BYTES = 16 << 30

Array = np.ndarray[Any, Any]
Side = Annotated[int, Field(ge=1, le=4096)]


class Options(OwnData):
    """Options of the kind, set in conf/tasks/<name>.yaml."""

    size: Annotated[list[Side], Field(min_length=2, max_length=2)] = Field(description="height and width to resize to")
    channels: Literal[1, 3] = Field(default=3, description="3 for colour, 1 for grey")
    mirror: bool = Field(default=False, description="train on mirrored pictures too")


@dataclass(frozen=True)
class Picture:
    """A file and the name of its class."""

    path: Path
    label: str


def find_metric(options: Options) -> str:
    """Return the metric of the task: the one that is named, or the accuracy. Raises DataError for one of values."""
    if options.metric in VALUE_METRICS:
        raise DataError(
            f"the folders of {options.path} are classes, and '{options.metric}' is a metric of values. Name another "
            "metric, or use the kind 'arrays'."
        )
    return options.metric or "accuracy"


def read(name: str, options: Options, *, seed: int) -> PreparedData:
    """Read all pictures. Raises DataError for a folder without classes or pictures, and for a damaged picture."""
    root = Path(options.path)
    if not root.is_dir():
        raise DataError(f"{root} is no folder. Change 'path' in conf/tasks/{name}.yaml to a folder of pictures.")
    listed = list_splits(root)
    labels = check_classes(root, listed)
    digests = {part: [_digest_file(picture.path) for picture in pictures] for part, pictures in listed.items()}
    classes = {part: [picture.label for picture in pictures] for part, pictures in listed.items()}
    parts = own_splits.complete_splits(
        digests, classes, own_splits.Shares(options.test_share, options.validation_share), seed
    )
    chosen = {split: [listed[part.source][row] for row in part.rows] for split, part in parts.items()}
    _check_memory(name, sum(map(len, chosen.values())), options)
    splits = {}
    with Progress("reading pictures", sum(map(len, chosen.values()))) as progress:
        for split, pictures in chosen.items():
            images = np.empty((len(pictures), options.channels, *options.size), np.uint8)
            for row, picture in enumerate(pictures):
                images[row] = decode_picture(picture.path, options.size, options.channels)
                progress.advance()
            splits[split] = (images, np.array([labels.index(picture.label) for picture in pictures], np.int64))
    return PreparedData(splits, _describe(name, options, labels), own_splits.note_shared_samples(digests))


def list_splits(root: Path) -> dict[str, list[Picture]]:
    """Return the pictures of train, test and perhaps validation, or all of them as 'all' for a folder of classes.

    Raises DataError for a folder with train/ and without test/.
    """
    if not (root / "train").is_dir():
        if (root / "test").is_dir():
            raise DataError(f"{root} has a folder test/ and no folder train/. Add it, or put the classes into {root}.")
        return {own_splits.ALL: list_pictures(root)}
    if not (root / "test").is_dir():
        raise DataError(
            f"{root} has a folder train/ and no folder test/. Add it, or point 'path' to {root / 'train'} to split off "
            "test pictures."
        )
    return {split: list_pictures(root / split) for split in own_splits.SPLITS if (root / split).is_dir()}


def list_pictures(folder: Path) -> list[Picture]:
    """Return the pictures in the folders of a folder, sorted by name. Files beside these folders are left out.

    Raises DataError for a folder without pictures, and for a file in it that is no picture.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} has no folders. Make one for each class, such as {folder / 'daisy'}/1.jpg.")
    pictures = []
    for directory in classes:
        files = sorted(path for path in directory.rglob("*") if path.is_file() and not _is_hidden(path, directory))
        if not files:
            raise DataError(f"{directory} has no pictures. Add some, or remove the folder.")
        for path in files:
            if path.suffix.lower() not in SUFFIXES:
                raise DataError(f"{path} is no picture: allowed are {', '.join(SUFFIXES)}. Convert or remove it.")
            pictures.append(Picture(path, directory.name))
    return pictures


def check_classes(root: Path, splits: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Return the sorted names of the classes. Raises DataError for one class only, or for one that is not in train."""
    trained = {picture.label for picture in splits.get("train", splits.get(own_splits.ALL, []))}
    for split, pictures in splits.items():
        if others := sorted({picture.label for picture in pictures} - trained):
            raise DataError(
                f"{root / split} has the class{'es' if len(others) > 1 else ''} {', '.join(others)}, which "
                f"{root / 'train'} does not have. Add training pictures, or remove the folder from {split}/."
            )
    if len(trained) < 2:
        raise DataError(
            f"{root} has the class '{', '.join(trained)}' only, and a classification needs two. Add a folder of "
            "pictures of another class."
        )
    return sorted(trained)


def _describe(name: str, options: Options, labels: Sequence[str]) -> TaskDescription:
    port = Port("image", (options.channels, *options.size))
    return TaskDescription(
        name=name,
        kind="image_folder",
        inputs=(DescribedInput(port, MIDDLE, MIDDLE),),
        outputs=(Port("logits", (len(labels),)),),
        metrics=(find_metric(options),),
        classes=tuple(labels),
        mirror=options.mirror,
    )


def _is_hidden(path: Path, directory: Path) -> bool:
    parts = path.relative_to(directory).parts
    return any(part.startswith(".") for part in parts) or path.name.lower() in _LITTER


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}. Check its permissions.") from error


def _check_memory(name: str, pictures: int, options: Options) -> None:
    size = pictures * options.channels * options.size[0] * options.size[1]
    if size > MAX_BYTES:
        raise DataError(
            f"{pictures} pictures of {options.size[0]}×{options.size[1]} need {size / 2**30:.0f} GiB of memory, and "
            f"the limit is {MAX_BYTES >> 30} GiB. Lower 'size' in conf/tasks/{name}.yaml."
        )
