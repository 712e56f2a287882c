"""Files of the inputs that a session sends to its device, one for each array, named by their sha256."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.directories import hash_file
from edgeproof.data.samples import Samples
from edgeproof.paths import WORK

Array = np.ndarray[Any, Any]


def store_samples(samples: Mapping[str, Samples]) -> dict[str, tuple[Path, ...]]:
    """Write every model's inputs as files that are named by their sha256; return the files by model."""
    paths: dict[Samples, tuple[Path, ...]] = {}
    for model_samples in samples.values():
        if model_samples not in paths:
            paths[model_samples] = tuple(map(_store_array, model_samples.inputs))
    return {model: paths[model_samples] for model, model_samples in samples.items()}


def _store_array(array: Array) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "samples.npy")
        np.save(path, array)
        target = WORK / "samples" / f"{hash_file(path)}.npy"
        _copy_atomically(path, target)
    return target


def _copy_atomically(path: Path, target: Path) -> None:
    """Copy a file to a place where other processes see the whole file or none. An existing target stays."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
        shutil.copyfile(path, partial)
        partial.replace(target)
