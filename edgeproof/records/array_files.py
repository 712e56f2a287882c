"""Read files of arrays (.npz). A device or another machine may have written them, so they are never trusted."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MAX_ARRAY_BYTES = 2**31

Array = np.ndarray[Any, Any]


def load_arrays(path: Path, select: Callable[[Mapping[str, Array]], dict[str, Array]]) -> dict[str, Array]:
    """Return the arrays that `select` takes from a file. Pickled objects are refused.

    Raises ValueError if the file unpacks to more than MAX_ARRAY_BYTES, and many kinds of errors if it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_ARRAY_BYTES:,} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return select(arrays)
