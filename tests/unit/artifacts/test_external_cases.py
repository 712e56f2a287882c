"""External files at the edges of their formats: they are measured as plain use of the engine computes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.bench import external_quality
from edgeproof.core import directories, plugins
from edgeproof.core.errors import ConfigError
from tests.support import onnx_cases, tflite_files
from tests.support.external_files import CLASSES, FEATURES, WEIGHTS, make_samples, write_openvino
from tests.support.external_project import run_bench

ONNX_RUNTIMES = ["onnx", "openvino"]
X = np.array([[3, -1, 0, 2], [-1, -1, -1, -1], [1, 2, 3, 4], [0, 0, 1, 0]], np.float32)


def build(path: Path, runtime: str, *, data: Path | None = None, output: str | None = None) -> Path:
    (file,) = files.open_files([path])
    out_dir = path.parent / "built" / runtime
    external_data = None if data is None else inputs.read_data(data)
    adopt.build_artifacts(file, runtime, [files.AS_IS], data=external_data, output=output, out_dir=out_dir)
    return out_dir / files.AS_IS


def predict(artifact: Path, runtime: str, x: np.ndarray) -> list[np.ndarray]:
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    return [session(x[i : i + 1])[0].copy() for i in range(len(x))]


def expect_linear_map(artifact: Path, runtime: str) -> None:
    x, _ = make_samples(5)
    np.testing.assert_allclose(np.concatenate(predict(artifact, runtime, x)), x @ WEIGHTS, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
@pytest.mark.parametrize("size", [-1, 0, "N", None])
def test_a_size_of_minus_one_or_zero_is_open_like_a_name(tmp_path: Path, runtime: str, size: int | str | None) -> None:
    expect_linear_map(build(onnx_cases.write_linear(tmp_path / "m.onnx", shape=(size, FEATURES)), runtime), runtime)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_another_negative_size_is_refused(tmp_path: Path, runtime: str) -> None:
    path = onnx_cases.write_linear(tmp_path / "m.onnx", shape=(-5, FEATURES))
    with pytest.raises(ConfigError, match=r"m\.onnx can't be read by .* 'x' has an axis of size -5"):
        build(path, runtime)


# --- weights in other files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_weights_in_another_file_travel_wherever_the_model_refers_to_them(
    tmp_path: Path, runtime: str, place: str
) -> None:
    artifact = build(onnx_cases.write_external_weights(tmp_path / "m.onnx", place), runtime)
    (tmp_path / "weights.bin").unlink()
    expect_linear_map(artifact, runtime)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_a_cache_of_links_to_blobs_is_read(tmp_path: Path, runtime: str) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx_cases.write_external_weights(blobs / "0a1b", "initializer", "weights.bin")
    (blobs / "weights.bin").rename(blobs / "2c3d")
    for name, blob in {"m.onnx": "0a1b", "weights.bin": "2c3d"}.items():
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    expect_linear_map(build(snapshot / "m.onnx", runtime), runtime)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_weights_with_a_second_hard_link_are_read(tmp_path: Path, runtime: str) -> None:
    path = onnx_cases.write_external_weights(tmp_path / "m.onnx", "initializer")
    (tmp_path / "cache").hardlink_to(tmp_path / "weights.bin")
    expect_linear_map(build(path, runtime), runtime)


def link_elsewhere(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    (path.parent / "weights.bin").rename(path.parent / "elsewhere/w")
    home = path.parent / "home"
    home.mkdir()
    path.rename(home / path.name)
    (home / "weights.bin").symlink_to("../elsewhere/w")


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
@pytest.mark.parametrize(
    ("change", "name", "match"),
    [
        (lambda path: (path.parent / "weights.bin").unlink(), "m.onnx", r"weights\.bin, which does not exist. Copy it"),
        (link_elsewhere, "home/m.onnx", "a link that leads to another directory: .*elsewhere/w. If you trust it, copy"),
        (
            lambda path: (path.parent / "weights.bin").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "m.onnx",
            r"weights\.bin is a Git LFS pointer.*git lfs pull",
        ),
        (lambda path: (path.parent / "weights.bin").write_bytes(b"short"), "m.onnx", r"m\.onnx can't be"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(
    tmp_path: Path, runtime: str, change: Callable[[Path], None], name: str, match: str
) -> None:
    change(onnx_cases.write_external_weights(tmp_path / "m.onnx", "initializer"))
    with pytest.raises(ConfigError, match=match):
        build(tmp_path / name, runtime)


@pytest.mark.parametrize("location", ["../w", "/etc/hostname", ""])
@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_weights_outside_of_the_models_directory_are_refused(tmp_path: Path, runtime: str, location: str) -> None:
    tensor = onnx_cases.make_external_tensor("W", location or "w")
    if not location:
        del tensor.external_data[:]
    path = onnx_cases.write_graph(tmp_path / "m.onnx", [onnx_cases.MATMUL], initializers=[tensor])
    with pytest.raises(ConfigError, match="which is not a file beside it"):
        build(path, runtime)


# --- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
@pytest.mark.parametrize(
    ("element_type", "dtype"),
    [(TensorProto.DOUBLE, "float64"), (TensorProto.BOOL, "bool"), (TensorProto.UINT32, "uint32")],
)
def test_outputs_of_further_element_types_are_read(tmp_path: Path, runtime: str, element_type: int, dtype: str) -> None:
    artifact = build(onnx_cases.write_cast(tmp_path / "m.onnx", element_type), runtime)
    x = np.array([[1, 2, 3, 4]], np.float32)
    (y,) = predict(artifact, runtime, np.abs(x))
    assert y.dtype == {"float64": "float32", "uint32": "int64"}.get(dtype, dtype)
    expected = x @ WEIGHTS
    known = expected > 0 if dtype == "uint32" else np.full_like(expected, True, bool)  # a cast of -1 is undefined
    np.testing.assert_allclose(y[known], expected.astype(dtype).astype(np.float32)[known], rtol=1e-5)


@pytest.mark.parametrize("element_type", ["FLOAT64", "BOOL", "UINT32", "INT64"])
def test_outputs_of_further_element_types_are_read_from_tflite_files(tmp_path: Path, element_type: str) -> None:
    path = tflite_files.write_cast(tmp_path / "m.tflite", getattr(schema.TensorType, element_type))
    (y,) = predict(build(path, "tflite"), "tflite", np.array([[3, 0, 7]], np.float32))
    np.testing.assert_array_equal(y, [[1, 0, 1]] if element_type == "BOOL" else [[3, 0, 7]])


@pytest.mark.parametrize(("runtime", "name"), [("onnx", "STRING"), ("onnx", "BFLOAT16"), ("openvino", "BFLOAT16")])
def test_an_output_of_a_type_that_numpy_lacks_is_refused_by_name(tmp_path: Path, runtime: str, name: str) -> None:
    path = onnx_cases.write_cast(tmp_path / "m.onnx", getattr(TensorProto, name))
    with pytest.raises(ConfigError, match=r"has the output 'y' of \w+, and outputs of float32, .* are measured\.$"):
        build(path, runtime)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
@pytest.mark.parametrize("output", ["y", "shapeless"])
def test_only_the_chosen_output_needs_to_be_of_numbers(tmp_path: Path, runtime: str, output: str) -> None:
    path = onnx_cases.write_other_outputs(tmp_path / "m.onnx")
    if runtime == "openvino":  # it has neither sequences nor text
        model = onnx.load(path)
        del model.graph.output[:2], model.graph.node[1], model.graph.node[2]
        onnx.save(model, path)
    artifact = build(path, runtime, output=output)
    x, _ = make_samples(3)
    expected = x @ WEIGHTS if output == "y" else np.maximum(x @ WEIGHTS, 0)
    np.testing.assert_allclose(np.concatenate(predict(artifact, runtime, x)), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("output", "dtype"), [("sequence", "sequence"), ("text", "string")])
def test_a_chosen_output_that_is_not_of_numbers_is_refused(tmp_path: Path, output: str, dtype: str) -> None:
    path = onnx_cases.write_other_outputs(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=rf"the output '{output}' of {dtype}.*Name another output with --output"):
        build(path, "onnx", output=output)


def expect_places(outputs: list[np.ndarray], x: np.ndarray) -> None:
    for row, y in zip(x, outputs, strict=True):
        np.testing.assert_array_equal(y, np.stack(np.nonzero(row[None] > 0), axis=1))


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_an_output_whose_size_depends_on_the_data_is_read_anew_after_each_inference(
    tmp_path: Path, runtime: str
) -> None:
    artifact = build(onnx_cases.write_nonzero(tmp_path / "m.onnx"), runtime)
    expect_places(predict(artifact, runtime, X), X)
    meta = directories.read_meta(artifact)
    assert meta["output_size_varies"]
    assert "the size of its output depends on the data" in meta["notes"]


def test_an_output_of_a_tflite_file_whose_size_depends_on_the_data_is_read_anew(tmp_path: Path) -> None:
    artifact = build(tflite_files.write_where(tmp_path / "m.tflite"), "tflite")
    expect_places(predict(artifact, "tflite", X[:, :3]), X[:, :3])
    assert directories.read_meta(artifact)["output_size_varies"]


def test_a_size_that_a_tflite_file_computes_without_the_data_does_not_vary(tmp_path: Path) -> None:
    x = np.abs(X[:, :3])
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(len(x), np.int64))
    path = tflite_files.write_computed_size(tmp_path / "m.tflite")
    artifact = build(path, "tflite", data=tmp_path / "data.npz")
    assert "output_size_varies" not in directories.read_meta(artifact)
    session = plugins.load("runtimes", "tflite").Session(artifact, threads=1)
    assert session.allocates_output
    first = session(x[:1])
    np.testing.assert_array_equal(first[0], x[:1])
    assert session(x[2:3]) is first
    np.testing.assert_array_equal(first[0], x[2:3])


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_a_detector_returns_as_many_boxes_as_remain(tmp_path: Path, runtime: str) -> None:
    artifact = build(onnx_cases.write_non_maximum_suppression(tmp_path / "m.onnx"), runtime)
    far = np.arange(onnx_cases.BOXES, dtype=np.float32)[:, None] * 10 + np.array([0, 0, 1, 1], np.float32)
    alike = far.copy()
    alike[1] = alike[0]
    outputs = predict(artifact, runtime, np.stack([far.ravel(), np.tile(far[0], onnx_cases.BOXES), alike.ravel()]))
    assert [sorted(y[:, 2]) for y in outputs] == [[0, 1, 2, 3, 4], [0], [0, 2, 3, 4]]


def test_labels_are_refused_if_the_size_of_the_output_depends_on_the_data(tmp_path: Path) -> None:
    directory = build(onnx_cases.write_nonzero(tmp_path / "m.onnx"), "onnx").parent
    with pytest.raises(ConfigError, match="outputs whose size depends on the data, which no metric can score"):
        external_quality.choose_quality("accuracy", np.zeros(len(X), np.int64), [directory])


@pytest.mark.parametrize("size", [3, FEATURES + 3])
def test_an_output_is_read_although_its_file_claims_another_size(tmp_path: Path, size: int) -> None:
    artifact = build(onnx_cases.write_nonzero(tmp_path / "m.onnx", size), "onnx")
    expect_places(predict(artifact, "onnx", X), X)


@pytest.mark.usefixtures("tolerant_limits")
@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_latency_is_measured_if_the_size_of_the_output_depends_on_the_data(bench_project: Path, runtime: str) -> None:
    onnx_cases.write_nonzero(bench_project / "m.onnx")
    np.savez(bench_project / "data.npz", x=X)
    assert run_bench("m.onnx", "--runtimes", runtime, "--data", "data.npz") == 0
    assert "| valid |" in (bench_project / "results/brought/m/tables/table.md").read_text()


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_a_shape_that_follows_from_the_batch_is_fixed(tmp_path: Path, runtime: str) -> None:
    artifact = build(onnx_cases.write_computed_reshape(tmp_path / "m.onnx"), runtime)
    expect_linear_map(artifact, runtime)
    assert not plugins.load("runtimes", runtime).Session(artifact, threads=1).allocates_output
    if runtime == "onnx":
        (output,) = onnx.load(artifact / "model.onnx").graph.output
        assert [axis.dim_value for axis in output.type.tensor_type.shape.dim] == [1, CLASSES]


# --- open sizes of .tflite files -------------------------------------------------------------------------------------


def test_an_open_input_of_a_tflite_file_is_resized_to_the_data(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((3, 8, 6, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=images)
    path = tflite_files.write_open_image(tmp_path / "m.tflite")
    artifact = build(path, "tflite", data=tmp_path / "data.npz")
    outputs = np.concatenate(predict(artifact, "tflite", images))
    np.testing.assert_allclose(outputs, images.mean((1, 2)), rtol=1e-5)


def test_a_tflite_file_that_cannot_be_resized_is_refused_with_the_shape_that_fits(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((2, 8, 6, 3), np.float32))
    path = tflite_files.write_open_image(tmp_path / "m.tflite", reshapes=True)
    with pytest.raises(ConfigError, match=r"an operator in it fits \[1, 1, 1, 3\] alone, not \[1, 8, 6, 3\]"):
        build(path, "tflite", data=tmp_path / "data.npz")


# --- messages and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"ir_version": 15},
            r"can't be run by onnx: \w+: Unsupported model IR version: 15, max supported IR version: 13$",
        ),
        ({"opset": 30}, r"Current official support for domain ai\.onnx is till opset 26\.$"),
    ],
)
def test_a_file_that_is_newer_than_the_engine_is_refused_with_the_engines_own_reason(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match) as refusal:
        build(onnx_cases.write_linear(tmp_path / "m.onnx", **changes), "onnx")
    reason = str(refusal.value).removeprefix(str(tmp_path))
    assert not any(noise in reason for noise in ("::", "onnxruntime_src", ".cc", str(tmp_path)))


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.tflite", "m.pt2", "m.keras"])
def test_a_git_lfs_pointer_is_refused_by_that_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n")
    with pytest.raises(ConfigError, match=r"is a Git LFS pointer.*git lfs pull"):
        files.open_files([tmp_path / name])


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path, runtime: str) -> None:
    expect_linear_map(build(onnx_cases.write_linear(tmp_path / "A.ONNX"), runtime), runtime)


def test_the_case_of_the_suffixes_of_an_openvino_file_does_not_matter(tmp_path: Path) -> None:
    write_openvino(tmp_path / "A.xml")
    for suffix in ("xml", "bin"):
        shutil.move(tmp_path / f"A.{suffix}", tmp_path / f"A.{suffix.upper()}")
    expect_linear_map(build(tmp_path / "A.XML", "openvino"), "openvino")


@pytest.mark.usefixtures("tolerant_limits")
def test_files_in_other_scripts_and_files_of_the_same_name_are_measured(
    bench_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("v1/模型.ONNX", "v2/模型.onnx"):
        (bench_project / name).parent.mkdir()
        onnx_cases.write_linear(bench_project / name)
    assert run_bench("v1/模型.ONNX", "v2/模型.onnx") == 0
    table = (bench_project / "results/brought/v1_模型/tables/table.md").read_text()
    assert "| v1_模型 |" in table
    assert "| v2_模型 |" in table
