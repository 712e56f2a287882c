"""A task of eight-pixel samples and a runtime of one matrix, as plugins outside the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeproof.core import directories

INPUT_SHAPE = (1, 2, 4)
CLASSES = 3
SAMPLES = 50

TASK = """
from edgeproof.core.ports import Port
INPUTS, OUTPUTS = (Port("image", (1, 2, 4)),), (Port("logits", (3,)),)
METRICS = ("accuracy",)
VIEWS = 1
def preprocess(raw): return raw
def view(x, k): return x
"""
RUNTIME = """
import numpy as np
from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

def export(model, samples, scheme, out_dir):
    if scheme != "fp32":
        (out_dir / "half").write_bytes(b"written before the runtime gave up")
        raise Unsupported("a matrix has no integers")
    np.save(out_dir / "matrix.npy", model[1].weight.detach().numpy())
    return ExportResult(notes=("exact",))

class Session(InferenceSession):
    def __init__(self, artifact_dir, *, threads):
        self._matrix = np.load(artifact_dir / "matrix.npy")
        self._input = np.zeros((1, self._matrix.shape[1]), np.float32)
        self._output = np.zeros((1, len(self._matrix)), np.float32)
    def feed(self, x):
        self._input[...] = x.reshape(1, -1)
    def invoke(self):
        np.matmul(self._input, self._matrix.T, out=self._output)
    def fetch(self):
        return (self._output,)

def describe():
    return {}

def list_placements(artifact_dir, inputs, *, threads):
    from edgeproof.core.placements import PlacedOperator
    return [PlacedOperator("y", "MatMul", "numpy"), PlacedOperator("z", "Copy", "Python", "numpy is not asked")]
"""


def write_plugins(root: Path, runtime: str = RUNTIME) -> None:
    """Write both plugins into an empty plugin directory."""
    (root / "tasks" / "tiny.py").write_text(TASK)
    (root / "runtimes" / "matrix.py").write_text(runtime)


def write_data(data: Path) -> None:
    """Write data/tiny: random samples, and labels for which `matrix()` is right four times out of five."""
    rng = np.random.default_rng(0)
    for directory, splits in (("build", ("train", "validation")), ("test", ("test",))):
        with directories.write_atomically(data / "tiny" / directory) as out:
            for split in splits:
                x = rng.standard_normal((SAMPLES, *INPUT_SHAPE)).astype(np.float32)
                y = (x.reshape(SAMPLES, -1) @ matrix().T).argmax(1)
                y[::5] = (y[::5] + 1) % CLASSES
                np.save(out / f"{split}_x.npy", x)
                np.save(out / f"{split}_y.npy", y.astype(np.int64))
            if directory == "build":
                np.save(out / "calibration.npy", np.arange(0, SAMPLES, 3))
            directories.write_meta(out, {"task": "tiny"})


def matrix() -> np.ndarray:
    """Return the runtime's weights: three rows of eight."""
    return np.random.default_rng(1).standard_normal((CLASSES, 8)).astype(np.float32)
