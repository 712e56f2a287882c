"""Detect objects in a photograph with a bundle's artifact: print the boxes, and draw them into a copy of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import photographs
from edgeproof.core.directories import write_bytes
from edgeproof.core.errors import EdgeproofError
from edgeproof.deployed import inference, pictures
from edgeproof.deployed.inference import InputError

# Read the photograph from standard input, as a camera's program writes it.
STANDARD_INPUT = "-"
SUFFIXES = (".jpg", ".jpeg")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Detections:
    """Boxes x1, y1, x2, y2 (M, 4) in pixels of a photograph, the best first, with their scores and classes."""

    boxes: Array
    scores: Array
    classes: Array


def is_picture(path: Path) -> bool:
    """Return True for what a user gives as a photograph: a JPEG file, or '-' for standard input."""
    return str(path) == STANDARD_INPUT or path.suffix.lower() in SUFFIXES


def detect(root: Path, path: Path, out: Path | None, *, threads: int, min_score: float) -> int:
    """Print a line for each box of at least `min_score`: class, score, x1, y1, x2, y2 in pixels of the photograph.

    With `out`, also write a copy of the photograph with these boxes. Return 2 for a photograph that can't be used.
    """
    try:
        task = inference.load_bundled_task(root)
        _check_task(task)
        _check_target(path, out)
        picture = photographs.read_picture(_read_content(path))
        detections = find_objects(root, task, picture, threads=threads, min_score=min_score)
        labels = [f"{task.CLASSES[n]} {x:.2f}" for n, x in zip(detections.classes, detections.scores, strict=True)]
        for label, box in zip(labels, detections.boxes.tolist(), strict=True):
            print(label, *map(round, box))
        print(f"{len(labels)} boxes with a score of at least {min_score:g}", file=sys.stderr)
        if out is not None:
            drawn = pictures.draw_boxes(picture, detections.boxes, detections.classes.tolist(), labels)
            write_bytes(out, pictures.encode_picture(drawn, out.suffix))
    except (InputError, EdgeproofError) as error:
        return inference.report_error(error)
    return 0


def find_objects(root: Path, task: Any, picture: Any, *, threads: int, min_score: float) -> Detections:
    """Run the artifact on a photograph, and return the detections in its pixels."""
    _, height, width = task.INPUTS[0].shape
    raw, placement = photographs.fit_picture(picture, width, height, task.PICTURES)
    inputs = inference.preprocess(root, task, (raw[None],))
    rows = inference.postprocess(task, inference.infer_samples(root, inputs, threads))[0][0]
    rows = rows[rows[:, 4] >= min_score]
    return Detections(placement.restore(rows[:, :4]), rows[:, 4], rows[:, 5].astype(int))


def _check_task(task: Any) -> None:
    if not hasattr(task, "PICTURES"):
        raise InputError("this model detects nothing in pictures. Give it a .npy file of raw inputs.")


def _check_target(path: Path, out: Path | None) -> None:
    """Raise InputError for an output that has no format, or that would replace the photograph itself."""
    if out is None:
        return
    if out.suffix.lower() not in pictures.FORMATS:
        raise InputError(f"--out needs a file ending in {', '.join(pictures.FORMATS)}, not '{out.name}'")
    if out.resolve() == path.resolve():
        raise InputError(f"{out} is the picture itself. Choose another file for --out.")


def _read_content(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from None
