"""A detector of bright spots without training: its network is the identity, and its task finds the bright area.

Its input has 12×16 pixels. It answers with one box around all pixels that are brighter than 200, or with none.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgeproof.core.directories import content_sha256, read_meta, write_meta
from tests.support import bundle_project

SHAPE = (3, 12, 16)
SIZE = 3 * 12 * 16
SCORE = 0.75

TASK = """
import numpy as np
from edgeproof.core.ports import Port
INPUTS, OUTPUTS = (Port("image", (3, 12, 16)),), (Port("pixels", (576,)),)
POSTPROCESSED = (Port("detections", (1, 6)),)
METRICS = ("map_50",)
CLASSES = ("dark", "spot")
PICTURES = "letterbox"
VIEWS = 1
def preprocess(raw): return raw.astype(np.float32)
def view(x, k): return x
def postprocess(pixels):
    rows, columns = np.nonzero(pixels.reshape(3, 12, 16).min(0) > 200)
    box = [-1.0] * 6
    if len(rows):
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.75, 1]
    return (np.array([[box]], np.float32),)
"""


def write_project(root: Path, plugin_root: Path) -> None:
    """Write the detector as an artifact with valid records below `root`, and its plugins into `plugin_root`."""
    bundle_project.write_project(root, plugin_root)
    (plugin_root / "tasks" / "tiny.py").write_text(TASK)
    artifact = root / "artifacts/matrix/m/fp32"
    samples = np.full((2, *SHAPE), 255, np.float32)
    np.save(artifact / "matrix.npy", np.eye(SIZE, dtype=np.float32))
    np.save(artifact / "samples.npy", samples)
    np.save(artifact / "expected.npy", samples.reshape(2, -1))
    write_meta(artifact, {"output_shape": [1, SIZE], "size_bytes": 10})
    sha256 = content_sha256(read_meta(artifact))
    for path in (root / bundle_project.RECORDS).rglob("record.json"):
        content = json.loads(path.read_text())
        content["artifact"]["sha256"] = sha256
        path.write_text(json.dumps(content))
