"""Artifacts of external files: they compute what the files compute, with a user's inputs or with random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.core import directories, plugins
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.errors import ConfigError
from tests.support.external_files import (
    CLASSES,
    FEATURES,
    WEIGHTS,
    make_samples,
    write_data,
    write_onnx,
    write_openvino,
)


def build_artifact(path: Path, runtime: str, data: Path | None = None, output: str | None = None) -> Path:
    (file,) = files.open_files([path])
    external_data = None if data is None else inputs.read_data(data)
    out_dir = path.parent / "built" / runtime
    adopt.build_artifacts(file, runtime, [files.AS_IS], data=external_data, output=output, out_dir=out_dir)
    return out_dir / files.AS_IS


def predict(artifact: Path, runtime: str, x: np.ndarray) -> np.ndarray:
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    outputs = [session(np.ascontiguousarray(x[i : i + 1]))[0].copy() for i in range(len(x))]
    assert all(output.dtype in (np.float32, np.int64) for output in outputs)
    return np.concatenate(outputs)


def test_a_file_with_fixed_shapes_is_copied_byte_for_byte(bench_project: Path) -> None:
    path, xml = write_onnx(bench_project / "m.onnx"), write_openvino(bench_project / "n.xml")
    assert (build_artifact(path, "onnx") / "model.onnx").read_bytes() == path.read_bytes()
    artifact = build_artifact(xml, "openvino")
    assert (artifact / "model.xml").read_bytes() == xml.read_bytes()
    assert (artifact / "model.bin").read_bytes() == xml.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("batch", ["N", 1])
def test_inputs_are_fed_in_the_element_type_of_the_file(
    bench_project: Path, runtime: str, dtype: str, batch: str | int
) -> None:
    artifact = build_artifact(write_onnx(bench_project / "m.onnx", batch=batch, dtype=dtype), runtime)
    x, _ = make_samples(8, dtype)
    expected = x.astype(np.float32) @ WEIGHTS
    np.testing.assert_allclose(predict(artifact, runtime, x), expected, rtol=2e-3, atol=2e-2)
    assert directories.read_meta(artifact)["outputs"] == [{"name": "y", "shape": [CLASSES], "dtype": "float32"}]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_all_inputs_are_fed_and_all_outputs_fetched(
    bench_project: Path, runtime: str, batch: str | int, dtype: str
) -> None:
    path = write_onnx(
        bench_project / "m.onnx", batch=batch, dtype=dtype, inputs=("x", "mask"), outputs=("shorter", "best", "y")
    )
    x = np.random.default_rng(0).integers(0, 2, (2, 5, FEATURES)).astype(dtype)
    np.savez(bench_project / "data.npz", mask=x[1], x=x[0])
    artifact = build_artifact(path, runtime, output="y", data=bench_project / "data.npz")
    meta = directories.read_meta(artifact)
    assert meta["inputs"] == [{"name": name, "shape": [FEATURES], "dtype": dtype} for name in ("x", "mask")]
    assert [(port["name"], port["dtype"]) for port in meta["outputs"]] == [
        ("y", "float32"), ("shorter", "float32"), ("best", "int64"),
    ]  # fmt: skip
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    np.testing.assert_array_equal(np.load(artifact / "samples_1.npy"), x[1])
    for index in range(5):
        y, shorter, best = session(x[0, index : index + 1], x[1, index : index + 1])
        expected = (x[0, index].astype(np.float32) + x[1, index].astype(np.float32)) @ WEIGHTS
        np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(shorter[0], expected, rtol=2e-3, atol=2e-3)
        assert best.dtype == np.int64
        assert best == [y.argmax()]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("batch", ["N", None, 1])
def test_the_chosen_output_is_read_in_any_element_type(
    bench_project: Path, runtime: str, batch: str | int | None
) -> None:
    path = write_onnx(bench_project / "m.onnx", batch=batch, outputs=("y", "best", "shorter"))
    x, _ = make_samples(8)
    y = x @ WEIGHTS
    np.testing.assert_array_equal(predict(build_artifact(path, runtime, output="best"), runtime, x), y.argmax(1))
    shorter = predict(build_artifact(path, runtime, output="shorter"), runtime, x)
    np.testing.assert_allclose(shorter, y.astype(np.float16).astype(np.float32), rtol=2e-3, atol=2e-2)
    notes = directories.read_meta(build_artifact(path, runtime, output="y"))["notes"]
    assert "output 'y' of 3" in notes


def test_other_outputs_are_still_computed(bench_project: Path) -> None:
    path = write_onnx(bench_project / "m.onnx", batch="N", outputs=("y", "best"))
    session = onnxruntime.InferenceSession(build_artifact(path, "onnx", output="best") / "model.onnx")
    assert [(port.name, port.shape) for port in session.get_outputs()] == [("best", [1]), ("y", [1, CLASSES])]


def test_open_sizes_of_other_axes_than_the_batch_are_those_of_the_data(bench_project: Path) -> None:
    path = write_onnx(bench_project / "m.onnx", batch="N", features="F")
    for runtime in ("onnx", "openvino"):
        artifact = build_artifact(path, runtime, write_data(bench_project / "data.npz"))
        np.testing.assert_allclose(
            predict(artifact, runtime, make_samples(3)[0]), make_samples(3)[0] @ WEIGHTS, rtol=1e-4
        )
    with pytest.raises(
        ConfigError, match=r"takes inputs of shape \(\?, \?\) and leaves more than the batch open.*--data"
    ):
        build_artifact(path, "onnx")


def test_weights_in_a_file_beside_an_onnx_file_are_included_in_the_artifact(bench_project: Path) -> None:
    path = write_onnx(bench_project / "m.onnx", external=True)
    assert (bench_project / "m.weights").stat().st_size >= WEIGHTS.nbytes
    artifact = build_artifact(path, "onnx")
    (bench_project / "m.weights").unlink()
    np.testing.assert_allclose(predict(artifact, "onnx", make_samples(3)[0]), make_samples(3)[0] @ WEIGHTS, rtol=1e-4)


def test_building_twice_gives_the_same_bytes(bench_project: Path) -> None:
    path = write_onnx(bench_project / "m.onnx", batch="N", outputs=("y", "best"))
    for runtime in ("onnx", "openvino"):
        first = directories.content_sha256(directories.read_meta(build_artifact(path, runtime, output="best")))
        assert directories.content_sha256(directories.read_meta(build_artifact(path, runtime, output="best"))) == first


# --- random inputs ---------------------------------------------------------------------------------------------------


def draw_inputs(dtype: str, quantization: tuple[float, int] | None = None) -> np.ndarray:
    spec = TensorSpec("x", (1, 50, 20), dtype, quantization)
    return inputs.prepare_samples([spec], [(1, 50, 20)], None, "m").inputs[0]


def test_random_inputs_are_normal_floats_or_cover_narrow_integers_and_stay_small_for_wide_ones() -> None:
    floats = draw_inputs("float32")
    assert floats.dtype == np.float32
    assert abs(floats.mean()) < 0.05
    assert abs(floats.std() - 1) < 0.05
    for dtype in ("int8", "uint8", "int16"):
        limits = np.iinfo(dtype)
        values = draw_inputs(dtype)
        assert (np.rint(values) == values).all()
        assert values.min() < limits.min + 20
        assert values.max() > limits.max - 20
        assert np.array_equal(values.astype(dtype), values)
    for dtype in ("int32", "int64"):
        assert set(np.unique(draw_inputs(dtype))) == {0, 1}
    np.testing.assert_array_equal(draw_inputs("float32"), floats)


@given(st.floats(1e-4, 10), st.integers(-128, 127))
def test_random_inputs_of_a_quantized_file_reach_every_integer(scale: float, zero: int) -> None:
    values = draw_inputs("int8", (scale, zero))
    integers = np.rint(values.astype(np.float64) / scale + zero)
    assert (integers.min(), integers.max()) == (-128, 127)
