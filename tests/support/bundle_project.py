"""A project with one artifact that can be bundled: a matrix with valid records, and a key to sign with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.core.directories import content_sha256, read_meta, write_meta
from tests.support import record_trees, tiny_task

RECORDS = Path("results/records")


def write_project(root: Path, plugin_root: Path) -> None:
    """Write the artifact, its records and the key below `root`, and its task and runtime into `plugin_root`."""
    for kind in ("tasks", "runtimes"):
        (plugin_root / kind).mkdir(parents=True, exist_ok=True)
    tiny_task.write_plugins(plugin_root)
    place = root / "artifacts/matrix/m/fp32"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((6, *tiny_task.INPUT_SHAPE)).astype(np.float32)
    np.save(place / "matrix.npy", tiny_task.matrix())
    np.save(place / "samples.npy", samples)
    np.save(place / "expected.npy", samples.reshape(6, -1) @ tiny_task.matrix().T)
    write_meta(place, {"output_shape": [1, 3], "size_bytes": 10})
    network = {"name": "net", "options": {}, "input_shape": list(tiny_task.INPUT_SHAPE), "classes": 3}
    described = {"name": "m", "task": "tiny", "sha256": "a" * 64, "data_sha256": "b" * 64, "network": network}
    identity: dict[str, Any] = {
        "runtime": "matrix",
        "model": "m",
        "task": "tiny",
        "artifact": {"sha256": content_sha256(read_meta(place))},
        "described": {**described, "options": {}},
        "result": {"fingerprint": {"cpu": "A", "python": "3.11.7"}},
    }
    record_trees.write(root / RECORDS, call_ns=np.full(100, 5000), **identity)
    record_trees.write(root / RECORDS, "accuracy", correct=[True] * 9 + [False], **identity)
    for path in (root / RECORDS).rglob("record.json"):
        content = json.loads(path.read_text())
        content["job"]["packages"] = {"numpy": np.__version__, "mlcommons-loadgen": "6"}
        path.write_text(json.dumps(content))
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    (root / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
