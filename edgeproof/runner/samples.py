"""The samples of a job: one .npy file for each input of its artifact, with one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def open_samples(job_dir: Path, names: Sequence[str]) -> tuple[Array, ...]:
    """Open the files of a job's samples without reading their rows. Raises ValueError if they differ in length."""
    arrays = tuple(np.load(job_dir / name, mmap_mode="r", allow_pickle=False) for name in names)
    if len({len(array) for array in arrays}) != 1:
        raise ValueError(f"the inputs have {' and '.join(str(len(array)) for array in arrays)} samples")
    return arrays


def load_row(samples: Sequence[Array], index: int) -> tuple[Array, ...]:
    """Load one sample into memory: a contiguous array (1, *shape) for each input."""
    return tuple(np.ascontiguousarray(array[index : index + 1]) for array in samples)
