"""Small .onnx files at the edges of the format: open sizes, outputs of any kind, weights in other files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.external_files import CLASSES, FEATURES, WEIGHTS

MATMUL = helper.make_node("MatMul", ["x", "W"], ["y"])
BOXES = 5


def write_graph(
    path: Path,
    nodes: Sequence[Any],
    *,
    shape: Sequence[int | str | None] = (1, FEATURES),
    outputs: Sequence[Any] = (),
    initializers: Sequence[Any] = (),
    opset: int = 18,
    ir_version: int = 10,
) -> Path:
    """Write a graph with the input x and, by default, the output y of shape (1, CLASSES). Nothing is checked."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], CLASSES])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    path.write_bytes(model.SerializeToString())
    return path


def write_linear(path: Path, **changes: Any) -> Path:
    """Write y = x @ WEIGHTS."""
    return write_graph(path, [MATMUL], initializers=[onnx.numpy_helper.from_array(WEIGHTS, "W")], **changes)


def write_cast(path: Path, element_type: int) -> Path:
    """Write y = x @ WEIGHTS in another element type."""
    nodes = [helper.make_node("MatMul", ["x", "W"], ["z"]), helper.make_node("Cast", ["z"], ["y"], to=element_type)]
    output = helper.make_tensor_value_info("y", element_type, [1, CLASSES])
    return write_graph(path, nodes, outputs=[output], initializers=[onnx.numpy_helper.from_array(WEIGHTS, "W")])


def write_nonzero(path: Path, size: int | str = "K") -> Path:
    """Write y (K, 2) int64, the places of the positive numbers of x. K depends on the data."""
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["mask"]),
        helper.make_node("NonZero", ["mask"], ["places"]),
        helper.make_node("Transpose", ["places"], ["y"]),
    ]
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [size, 2])
    return write_graph(path, nodes, outputs=[output], initializers=[zero])


def write_non_maximum_suppression(path: Path) -> Path:
    """Write a detector's last operator: x (1, 4 · BOXES) holds the corners of boxes, y (K, 3) the boxes that remain.

    All scores are equal, so a box is dropped if an earlier one overlaps it.
    """
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["boxes"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["y"]),
    ]
    constants = {
        "shape": np.array([1, BOXES, 4], np.int64),
        "scores": np.ones((1, 1, BOXES), np.float32),
        "most": np.array([BOXES], np.int64),
        "overlap": np.array([0.5], np.float32),
    }
    return write_graph(
        path,
        nodes,
        shape=(1, 4 * BOXES),
        outputs=[helper.make_tensor_value_info("y", TensorProto.INT64, ["K", 3])],
        initializers=[onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def write_computed_reshape(path: Path) -> Path:
    """Write y = x @ WEIGHTS, reshaped to a shape that the graph computes from the batch size."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["z", "target"], ["y"]),
    ]
    constants = {"W": WEIGHTS, "first": np.array([0], np.int64), "rest": np.array([-1], np.int64)}
    return write_graph(
        path,
        nodes,
        shape=("N", FEATURES),
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers=[onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def write_other_outputs(path: Path) -> Path:
    """Write y = x @ WEIGHTS beside a sequence, an output without a shape and one of text."""
    nodes = [
        MATMUL,
        helper.make_node("SequenceConstruct", ["y"], ["sequence"]),
        helper.make_node("Relu", ["y"], ["shapeless"]),
        helper.make_node("Cast", ["y"], ["text"], to=TensorProto.STRING),
    ]
    outputs = [
        helper.make_tensor_sequence_value_info("sequence", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("text", TensorProto.STRING, [1, CLASSES]),
        helper.make_tensor_value_info("shapeless", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES]),
    ]
    return write_graph(path, nodes, outputs=outputs, initializers=[onnx.numpy_helper.from_array(WEIGHTS, "W")])


def make_external_tensor(name: str, location: str) -> Any:
    """Return WEIGHTS as a tensor whose content is in the file `location`."""
    tensor = onnx.numpy_helper.from_array(WEIGHTS, name)
    onnx.external_data_helper.set_external_data(tensor, location, 0, WEIGHTS.nbytes)
    tensor.ClearField("raw_data")
    return tensor


def write_external_weights(path: Path, place: str, location: str = "weights.bin") -> Path:
    """Write y = x @ WEIGHTS with the weights in a file of their own, to which one place of the graph refers."""
    tensor = make_external_tensor("W", location)
    if place == "initializer":
        write_graph(path, [MATMUL], initializers=[tensor])
    elif place == "constant":
        write_graph(path, [helper.make_node("Constant", [], ["W"], value=tensor), MATMUL])
    else:
        branch = helper.make_graph(
            [helper.make_node("MatMul", ["x", "W"], ["z"])],
            "branch",
            [],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, CLASSES])],
            [tensor],
        )
        node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
        write_graph(path, [node], initializers=[onnx.numpy_helper.from_array(np.array(True), "condition")])
    (path.parent / location).write_bytes(WEIGHTS.tobytes())
    return path
