"""Tasks whose data comes from a file of arrays, as plugins outside the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgeproof.config.params import TaskParams
from edgeproof.data import preparation

FILE = "arrays.npz"
# The part of a task's file that reads <split>_x0, <split>_x1, … and <split>_y from the file of arrays.
DATA = """
import numpy as np
from edgeproof.core.ports import Port
VIEWS = 1
def data(files, *, validation_samples, seed):
    arrays = np.load(files["arrays.npz"])
    splits = {}
    for name in ("train", "validation", "test"):
        if name + "_y" in arrays:
            inputs = tuple(arrays[f"{name}_x{number}"] for number in range(len(INPUTS)))
            splits[name] = (inputs if len(inputs) > 1 else inputs[0], arrays[name + "_y"])
    return splits
def preprocess(raw): return raw
def view(x, k): return x
"""


def write_task(plugin_root: Path, name: str, code: str) -> None:
    """Write the file of a task: DATA and `code`, which declares the rest."""
    (plugin_root / "tasks" / f"{name}.py").write_text(DATA + code)


def prepare_task(name: str, arrays: dict[str, np.ndarray], root: Path) -> Path:
    """Prepare a task from the given arrays, and return the directory of its data, <root>/data."""
    source = root / "source"
    source.mkdir(exist_ok=True)
    np.savez(source / FILE, **arrays)
    content = {
        "name": name,
        "sources": [{"kind": "folder", "path": str(source)}],
        "files": {FILE: hashlib.sha256((source / FILE).read_bytes()).hexdigest()},
        "validation_samples": 5,
        "calibration_samples": 4,
        "quality_target": 0.9,
        "seed": 0,
    }
    preparation.prepare(TaskParams.model_validate(content), root / "data")
    return root / "data"
