"""Models that keep a state between inferences: it is described, kept, and cleared before each scored sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproof.artifacts.external import adopt, files
from edgeproof.core import directories, plugins
from edgeproof.core.sessions import InferenceSession
from tests.support import stateful_files
from tests.support.external_files import write_onnx
from tests.support.external_project import run_bench
from tests.support.stateful_files import FEATURES

Writer = Callable[[Path], Path]
# Each file with its runtime, and how many of the earlier inputs are added to an output.
STATEFUL = [
    pytest.param("tflite", stateful_files.write_svdf, "m.tflite", 1, id="variable-tensor"),
    pytest.param("tflite", stateful_files.write_counter, "m.tflite", 9, id="resource-variable"),
    pytest.param("openvino", stateful_files.write_openvino_counter, "m.xml", 9, id="openvino-variable"),
]
INPUTS = np.random.default_rng(0).integers(-9, 9, (6, 1, FEATURES)).astype(np.float32)


def load(path: Path, runtime: str) -> InferenceSession:
    (file,) = files.open_files([path])
    out_dir = path.parent / "built"
    adopt.build_artifacts(file, runtime, [files.AS_IS], data=None, output=None, out_dir=out_dir)
    session: InferenceSession = plugins.load("runtimes", runtime).Session(out_dir / files.AS_IS, threads=1)
    return session


@pytest.mark.parametrize(("runtime", "write", "name", "memory"), STATEFUL)
def test_a_state_is_kept_until_it_is_reset(
    bench_project: Path, runtime: str, write: Writer, name: str, memory: int
) -> None:
    session = load(write(bench_project / name), runtime)
    session.reset_state()
    for number, x in enumerate(INPUTS):
        np.testing.assert_array_equal(session(x)[0], INPUTS[max(0, number - memory) : number + 1].sum(0))
    for x in INPUTS:
        session.reset_state()
        np.testing.assert_array_equal(session(x)[0], x)


@pytest.mark.parametrize(("runtime", "write", "name", "memory"), STATEFUL)
def test_an_artifact_and_its_table_say_that_the_file_keeps_a_state(
    bench_project: Path, runtime: str, write: Writer, name: str, memory: int
) -> None:
    session = load(write(bench_project / name), runtime)
    meta = directories.read_meta(bench_project / "built" / files.AS_IS)
    assert meta["states"] == session.list_states()
    assert len(meta["states"]) == 1
    assert any(note.startswith("keeps a state between inferences") for note in meta["notes"])


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_file_without_a_state_is_not_said_to_keep_one(bench_project: Path, runtime: str) -> None:
    session = load(write_onnx(bench_project / "m.onnx"), runtime)
    session.reset_state()
    assert session.list_states() == []
    assert "states" not in directories.read_meta(bench_project / "built" / files.AS_IS)


@pytest.mark.parametrize(("runtime", "write", "name", "memory"), STATEFUL)
@pytest.mark.usefixtures("tolerant_limits")
def test_accuracy_does_not_depend_on_the_order_of_the_samples(
    bench_project: Path, runtime: str, write: Writer, name: str, memory: int
) -> None:
    generator = np.random.default_rng(1)
    x = generator.standard_normal((60, FEATURES)).astype(np.float32)
    x = x[np.argsort(x.argmax(1), kind="stable")] if memory > 1 else x
    write(bench_project / name)
    np.savez(bench_project / "data.npz", x=x, y=x.argmax(1))
    assert run_bench(name, "--data", "data.npz", "--runtimes", runtime) == 0
    (record,) = (bench_project / "results/brought/m/records").rglob("accuracy.0/record.json")
    content = json.loads(record.read_text())
    assert (content["quality"]["value"], content["quality"]["units"]) == (1.0, 60)
    assert len(content["result"]["states"]) == len(content["artifact"]["states"]) == 1
