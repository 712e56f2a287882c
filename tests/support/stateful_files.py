"""Small model files that keep a state between inferences, and model files of LiteRT made without a converter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FEATURES = 3


def write_svdf(path: Path) -> Path:
    """Write a .tflite file with a variable tensor: y(t) = x(t) + x(t - 1), in each of FEATURES features.

    The operator SVDF keeps its last inputs, as an LSTM keeps its state. An addition of zero follows it, because the
    delegate takes no SVDF.
    """
    model = _build_model(schema.BuiltinOperator.SVDF, schema.BuiltinOperator.ADD)
    identity = _add_tensor(model, [FEATURES, FEATURES], np.eye(FEATURES, dtype=np.float32))
    ones = _add_tensor(model, [FEATURES, 2], np.ones((FEATURES, 2), np.float32))
    state = _add_tensor(model, [1, 2 * FEATURES], is_variable=True)
    zero = _add_tensor(model, [1, FEATURES], np.zeros((1, FEATURES), np.float32))
    x, total, y = (_add_tensor(model, [1, FEATURES], name=name) for name in ("x", "total", "y"))
    options = schema.SVDFOptionsT()
    options.rank = 1
    _add_operator(model, 0, [x, identity, ones, -1, state], [total], schema.BuiltinOptions.SVDFOptions, options)
    _add_operator(model, 1, [total, zero], [y], schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    return _write(model, path, [x], [y])


def write_counter(path: Path) -> Path:
    """Write a .tflite file with a resource variable: y(t) = x(0) + … + x(t), in each of FEATURES features."""
    import tensorflow as tf

    class Counter(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.total = tf.Variable(tf.zeros([1, FEATURES]))

        @tf.function(input_signature=[tf.TensorSpec([1, FEATURES], tf.float32)])  # type: ignore[untyped-decorator]
        def add(self, x: object) -> object:
            self.total.assign_add(x)
            return self.total * 1.0

    counter = Counter()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([counter.add.get_concrete_function()], counter)
    converter.experimental_enable_resource_variables = True
    path.write_bytes(converter.convert())
    return path


def write_openvino_counter(path: Path) -> Path:
    """Write an OpenVINO model with a variable: y(t) = x(0) + … + x(t), in each of FEATURES features."""
    import openvino as ov
    from openvino import opset6

    x = opset6.parameter([1, FEATURES], name="x")
    initial = opset6.constant(np.zeros((1, FEATURES), np.float32))
    total = opset6.add(opset6.read_value(initial, "total", ov.Type.f32, [1, FEATURES]), x)
    model = ov.Model([opset6.result(total)], [opset6.assign(total, "total")], [x], "counter")
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def write_identity(path: Path, element_type: int) -> Path:
    """Write a .tflite file that casts FEATURES float32 numbers to another element type of the schema's TensorType."""
    model = _build_model(schema.BuiltinOperator.CAST)
    x = _add_tensor(model, [1, FEATURES], name="x")
    y = _add_tensor(model, [1, FEATURES], name="y", element_type=element_type)
    _add_operator(model, 0, [x], [y], schema.BuiltinOptions.NONE, None)
    return _write(model, path, [x], [y])


def _build_model(*operators: int) -> schema.ModelT:
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.operatorCodes = []
    for operator in operators:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operator
        code.version = 1
        model.operatorCodes.append(code)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    model.subgraphs = [graph]
    return model


def _add_tensor(
    model: schema.ModelT,
    shape: Sequence[int],
    content: np.ndarray | None = None,
    *,
    name: str = "",
    element_type: int = schema.TensorType.FLOAT32,
    is_variable: bool = False,
) -> int:
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name, tensor.isVariable = list(shape), element_type, name, is_variable
    tensor.buffer = 0
    if content is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _add_operator(
    model: schema.ModelT, code: int, inputs: list[int], outputs: list[int], options_type: int, options: object
) -> None:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    model.subgraphs[0].operators.append(operator)


def _write(model: schema.ModelT, path: Path, inputs: list[int], outputs: list[int]) -> Path:
    model.subgraphs[0].inputs, model.subgraphs[0].outputs = inputs, outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
