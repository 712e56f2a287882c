"""Small files as other tools write them: a linear map in ONNX or OpenVINO, with open shapes and further inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

FEATURES, CLASSES = 4, 3
WEIGHTS = np.random.default_rng(2).standard_normal((FEATURES, CLASSES)).astype(np.float32)


def write_onnx(
    path: Path,
    *,
    batch: int | str | None = 1,
    features: int | str = FEATURES,
    dtype: str = "float32",
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    external: bool = False,
) -> Path:
    """Write a model with the outputs y = x @ WEIGHTS, best = argmax(y) or shorter = y as float16.

    Further inputs are added to x. With `external`, the weights are in a file of their own.
    """
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    floats = [f"{name}_float" for name in inputs]
    nodes = [
        *(
            helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT)
            for name, cast in zip(inputs, floats, strict=True)
        ),
        helper.make_node("Sum", floats, ["total"]),
        helper.make_node("MatMul", ["total", "W"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["y"], ["shorter"], to=TensorProto.FLOAT16),
    ]
    specs = {
        "y": helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES]),
        "best": helper.make_tensor_value_info("best", TensorProto.INT64, [batch]),
        "shorter": helper.make_tensor_value_info("shorter", TensorProto.FLOAT16, [batch, CLASSES]),
    }
    graph = helper.make_graph(
        nodes,
        "made elsewhere",
        [helper.make_tensor_value_info(name, element, [batch, features]) for name in inputs],
        [specs[name] for name in outputs],
        [onnx.numpy_helper.from_array(WEIGHTS, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path, save_as_external_data=external, size_threshold=0, location=f"{path.stem}.weights")
    return path


def write_openvino(path: Path, **changes: object) -> Path:
    """Write the same model as an OpenVINO .xml and its .bin."""
    import openvino as ov

    ov.save_model(ov.convert_model(write_onnx(path.with_suffix(".onnx"), **changes)), path, compress_to_fp16=False)  # type: ignore[arg-type]
    path.with_suffix(".onnx").unlink()
    return path


def make_samples(count: int = 40, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, and labels of which the model predicts three out of four correctly."""
    generator = np.random.default_rng(3)
    x = generator.standard_normal((count, FEATURES)).astype(np.float32) * 20
    x = x if np.dtype(dtype).kind == "f" else np.rint(np.abs(x))
    y = (x @ WEIGHTS).argmax(1)
    y[::4] = (y[::4] + 1) % CLASSES
    return x.astype(dtype), y


def write_data(path: Path, **arrays: np.ndarray) -> Path:
    """Write an .npz of the given arrays, or of `make_samples()`."""
    x, y = make_samples()
    np.savez(path, **(arrays or {"x": x, "y": y}))  # type: ignore[arg-type]
    return path
