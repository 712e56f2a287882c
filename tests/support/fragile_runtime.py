"""A runtime of one matrix, as a plugin: its reader, converter or engine fails natively where a file or scheme says."""

from __future__ import annotations

from pathlib import Path

from tests.support import tiny_task

NOISE = "printed by a converter"
# The failures of .pt2 files by scheme. The other schemes are exported.
FAILURES = {"fp16": "SIGSEGV", "int8-dynamic": "SIGKILL"}
RUNTIME = (
    tiny_task.RUNTIME
    + f"""
import os, signal, subprocess, tempfile, time
from edgeproof.core.artifacts import ModelInterface, TensorSpec

ADOPTS = (".matrix",)
MatrixSession = Session

def fail(failure, out_dir):
    print({NOISE!r}, flush=True)
    subprocess.run(["echo", {NOISE!r}], check=True)
    if out_dir is not None:
        (out_dir / "half").write_bytes(b"written before the failure")
    tempfile.mkstemp()
    if failure == "hang":
        time.sleep(600)
    if failure == "refuse":
        raise Unsupported("the engine has no operator ATAN2")
    os.kill(os.getpid(), signal.Signals[failure])

def fail_at(place, text, out_dir=None):
    if text.startswith(place + " "):
        fail(text.split()[1], out_dir)

def read_interface(path):
    fail_at("read", path.read_text())
    return ModelInterface((TensorSpec("x", (1, 8), "float32", None),), (TensorSpec("y", (1, 3), "float32", None),))

def adopt(path, out_dir, *, input_shapes, output):
    print({NOISE!r}, flush=True)
    fail_at("adopt", path.read_text(), out_dir)
    np.save(out_dir / "matrix.npy", np.ones((3, 8), np.float32))
    (out_dir / "failure.txt").write_text(path.read_text())
    return ExportResult()

def export(model, samples, scheme, out_dir):
    failure = {FAILURES!r}.get(scheme)
    if failure is not None:
        fail(failure, out_dir)
    np.save(out_dir / "matrix.npy", np.ones((3, 8), np.float32))
    (out_dir / "failure.txt").write_text("")
    return ExportResult()

class Session(MatrixSession):
    def __init__(self, artifact_dir, *, threads):
        fail_at("infer", (artifact_dir / "failure.txt").read_text())
        super().__init__(artifact_dir, threads=threads)
"""
)


def write_runtime(root: Path) -> None:
    """Add the runtime 'fragile' to a project."""
    (root / "plugins/runtimes").mkdir(parents=True)
    (root / "plugins/runtimes/fragile.py").write_text(RUNTIME)
    schemes = "schemes: [fp32, fp16, int8-dynamic, int8-static]"
    (root / "conf/runtimes/fragile.yaml").write_text(f"{schemes}\nhost_packages: []\ndevice_packages: []\n")


def write_matrix(path: Path, failure: str = "") -> Path:
    """Write a file of the runtime. `failure` is "read", "adopt" or "infer", then a signal, "hang" or "refuse"."""
    path.write_text(failure)
    return path
