"""Stripping: smaller files of the same outputs, and files that stay as they are where that is not certain."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.artifacts import stripping
from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported

FILES = {"onnx": "model.onnx", "openvino": "model.xml", "tflite": "model.tflite"}


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).random((4, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=sorted(FILES))
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> Path:
    """Return an artifact of a small network in int8, in a directory with the name of its runtime."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 3)).eval()
    directory = tmp_path_factory.mktemp("artifacts") / request.param
    directory.mkdir()
    plugins.load("runtimes", request.param).export(network, (samples,), "int8-static", directory)
    return directory


def run(runtime: ModuleType, directory: Path, samples: np.ndarray) -> list[bytes]:
    session = runtime.Session(directory, threads=1)
    return [session(sample[None])[0].tobytes() for sample in samples]


def measure(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_stripping_shrinks_the_file_and_keeps_every_bit_of_the_outputs(
    artifact: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    runtime = plugins.load("runtimes", artifact.name)
    directory = tmp_path / "copy"
    shutil.copytree(artifact, directory)
    before, expected = measure(directory), run(runtime, directory, samples)
    result = stripping.strip(runtime, ExportResult(("exact",)), directory, (samples,), 1)
    assert run(runtime, directory, samples) == expected
    assert result.unstripped_bytes == before
    assert measure(directory) < 0.95 * before
    assert result.notes == (
        "exact", f"names and metadata stripped: {before:,} bytes before, {measure(directory):,} after"
    )  # fmt: skip


def test_stripping_keeps_the_interface_and_is_deterministic(artifact: Path, tmp_path: Path) -> None:
    runtime = plugins.load("runtimes", artifact.name)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runtime.strip(artifact, tmp_path / name)
    file = FILES[artifact.name]
    assert runtime.read_interface(tmp_path / "one" / file) == runtime.read_interface(artifact / file)
    assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_stripping_again_gains_nothing(artifact: Path, samples: np.ndarray, tmp_path: Path) -> None:
    runtime = plugins.load("runtimes", artifact.name)
    runtime.strip(artifact, tmp_path)
    before = measure(tmp_path)
    result = stripping.strip(runtime, ExportResult(), tmp_path, (samples,), 1)
    assert (measure(tmp_path), result.notes) == (before, ("names and metadata kept: nothing to gain",))


def test_a_stripped_tflite_file_aligns_its_data_as_the_schema_asks(tmp_path: Path) -> None:
    """The schema of TFLite has force_align: 16, which Python's builder ignores."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeproof.converters import strip_tflite

    buffers = [schema.BufferT(), *(schema.BufferT(np.arange(size, dtype=np.uint8)) for size in (3, 20, 33))]
    tensors = [schema.TensorT(shape=np.array([1], np.int32), buffer=number, name=b"w") for number in (1, 2, 3, 2)]
    graph = schema.SubGraphT(tensors=tensors, inputs=np.array([0]), outputs=np.array([1]), operators=[])
    builder = strip_tflite._SharingBuilder(16)
    builder.Finish(schema.ModelT(version=3, subgraphs=[graph], buffers=buffers).Pack(builder), b"TFL3")
    (tmp_path / "in").write_bytes(builder.Output())
    strip_tflite.strip(tmp_path / "in", tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    assert model.BuffersLength() == 4
    for number, size in ((1, 3), (2, 20), (3, 33)):
        data = model.Buffers(number)
        assert data.DataAsNumpy().tolist() == list(range(size))
        assert data._tab.Vector(data._tab.Offset(4)) % 16 == 0


class Session:
    """Returns what its file holds."""

    def __init__(self, directory: Path, *, threads: int) -> None:
        self.output = np.frombuffer((directory / "file").read_bytes().strip(), np.uint8)

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.output,)

    def reset_state(self) -> None:
        pass


def write(text: bytes) -> object:
    return lambda source, target: (target / "file").write_bytes(text)


def fail(source: Path, target: Path) -> None:
    raise Unsupported("the file is special")


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        (SimpleNamespace(Session=Session), "the runtime has no function 'strip'"),
        (SimpleNamespace(Session=Session, strip=write(b"abd")), "the outputs would differ"),
        (SimpleNamespace(Session=Session, strip=fail), "the file is special"),
        (SimpleNamespace(Session=Session, strip=lambda source, target: None), "the stripped files have other names"),
        (SimpleNamespace(Session=None, strip=write(b"abc")), "TypeError: 'NoneType' object is not callable"),
    ],
)
def test_files_stay_as_they_are_unless_the_outputs_are_known_to_be_equal(
    runtime: ModuleType, reason: str, tmp_path: Path, samples: np.ndarray
) -> None:
    (tmp_path / "file").write_bytes(b"abc  ")
    result = stripping.strip(runtime, ExportResult(), tmp_path, (samples,), 1)
    assert (tmp_path / "file").read_bytes() == b"abc  "
    assert result == ExportResult((f"names and metadata kept: {reason}",))


def test_the_layers_of_a_stripped_file_can_be_opened(artifact: Path, tmp_path: Path) -> None:
    runtime = plugins.load("runtimes", artifact.name)
    runtime.strip(artifact, tmp_path)
    assert len(runtime.open_layers(tmp_path).nodes) == len(runtime.open_layers(artifact).nodes)
