"""ONNX Runtime's telemetry is off in sessions, on the host and on devices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.support.project import ROOT

# Variables with which ONNX Runtime itself leaves its telemetry off, or stores its database elsewhere.
OTHERS = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
PLAIN = "import onnxruntime; onnxruntime.InferenceSession('model.onnx')"
OURS = "from pathlib import Path; from edgeproof.runtimes.onnx import Session; Session(Path(), threads=1)"


def open_session(program: str, directory: Path) -> list[str]:
    """Open a session on a small model in a process of its own, and return the files in its home directory."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, directory / "model.onnx")
    home = directory / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS and not name.startswith("GITHUB")}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=directory, env=environment, check=True)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_session_starts_no_telemetry(tmp_path: Path) -> None:
    assert open_session(OURS, tmp_path) == []


def test_this_version_of_the_engine_has_telemetry_that_the_test_above_would_notice(tmp_path: Path) -> None:
    assert any("onnxruntime" in name for name in open_session(PLAIN, tmp_path))
