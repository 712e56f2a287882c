"""Small .tflite files, built from the format's schema without a converter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FEATURES = 3


def write_cast(path: Path, element_type: int) -> Path:
    """Write y = x (1, FEATURES) as another element type of the schema's TensorType."""
    model = build_model(schema.BuiltinOperator.CAST)
    x = add_tensor(model, [1, FEATURES], name="x")
    y = add_tensor(model, [1, FEATURES], name="y", element_type=element_type)
    add_operator(model, 0, [x], [y], schema.BuiltinOptions.NONE, None)
    return write_model(model, path, [x], [y])


def write_where(path: Path) -> Path:
    """Write y (K, 2) int64, the places of the positive numbers of x (1, FEATURES). K depends on the data."""
    model = build_model(schema.BuiltinOperator.GREATER, schema.BuiltinOperator.WHERE)
    zero = add_tensor(model, [1], np.zeros(1, np.float32))
    x = add_tensor(model, [1, FEATURES], name="x")
    mask = add_tensor(model, [1, FEATURES], element_type=schema.TensorType.BOOL)
    y = add_tensor(model, [1, 2], name="y", element_type=schema.TensorType.INT64, signature=[-1, 2])
    add_operator(model, 0, [x, zero], [mask], schema.BuiltinOptions.GreaterOptions, schema.GreaterOptionsT())
    add_operator(model, 1, [mask], [y], schema.BuiltinOptions.WhereOptions, schema.WhereOptionsT())
    return write_model(model, path, [x], [y])


def write_open_image(path: Path, *, reshapes: bool = False) -> Path:
    """Write the mean colour y (1, 3) of an image x (1, ?, ?, 3). With `reshapes` only images of 1 × 1 fit."""
    operator = schema.BuiltinOperator.RESHAPE if reshapes else schema.BuiltinOperator.MEAN
    model = build_model(operator)
    x = add_tensor(model, [1, 1, 1, 3], name="x", signature=[1, -1, -1, 3])
    y = add_tensor(model, [1, 3], name="y")
    if reshapes:
        target = add_tensor(model, [2], np.array([1, 3], np.int32), element_type=schema.TensorType.INT32)
        options = schema.ReshapeOptionsT()
        options.newShape = [1, 3]
        add_operator(model, 0, [x, target], [y], schema.BuiltinOptions.ReshapeOptions, options)
    else:
        axes = add_tensor(model, [2], np.array([1, 2], np.int32), element_type=schema.TensorType.INT32)
        add_operator(model, 0, [x, axes], [y], schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT())
    return write_model(model, path, [x], [y])


def write_computed_size(path: Path) -> Path:
    """Write y = x (1, FEATURES), tiled as often as the graph computes in each inference, which is once.

    It computes max(min(argmax(x), 0), 1). So the engine allocates y, although its size never varies, as in files that
    were converted from Keras with an open batch.
    """
    operators, options = schema.BuiltinOperator, schema.BuiltinOptions
    model = build_model(operators.ARG_MAX, operators.MINIMUM, operators.MAXIMUM, operators.TILE)
    x, y = (add_tensor(model, [1, FEATURES], name=name) for name in ("x", "y"))
    integers = schema.TensorType.INT32
    axis = add_tensor(model, [1], np.array([1], np.int32), element_type=integers)
    zeros, ones = (add_tensor(model, [2], np.full(2, n, np.int32), element_type=integers) for n in (0, 1))
    best = add_tensor(model, [1], element_type=integers)
    least, counts = (add_tensor(model, [2], element_type=integers) for _ in range(2))
    arg_max = schema.ArgMaxOptionsT()
    arg_max.outputType = integers
    add_operator(model, 0, [x, axis], [best], options.ArgMaxOptions, arg_max)
    add_operator(model, 1, [best, zeros], [least], options.MaximumMinimumOptions, schema.MaximumMinimumOptionsT())
    add_operator(model, 2, [least, ones], [counts], options.MaximumMinimumOptions, schema.MaximumMinimumOptionsT())
    add_operator(model, 3, [x, counts], [y], options.TileOptions, schema.TileOptionsT())
    return write_model(model, path, [x], [y])


def write_quantized_copy(path: Path, element_type: int, *, scale: float, zero: int, size: int) -> Path:
    """Write y = x (1, size), where both are integers q that stand for (q - zero) * scale."""
    model = build_model(schema.BuiltinOperator.RESHAPE)
    x, y = (add_tensor(model, [1, size], name=name, element_type=element_type) for name in ("x", "y"))
    for tensor in (model.subgraphs[0].tensors[x], model.subgraphs[0].tensors[y]):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
    target = add_tensor(model, [2], np.array([1, size], np.int32), element_type=schema.TensorType.INT32)
    options = schema.ReshapeOptionsT()
    options.newShape = [1, size]
    add_operator(model, 0, [x, target], [y], schema.BuiltinOptions.ReshapeOptions, options)
    return write_model(model, path, [x], [y])


def build_model(*operators: int) -> schema.ModelT:
    """Return a model with an empty graph, whose operators are numbered in this order."""
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


def add_tensor(
    model: schema.ModelT,
    shape: Sequence[int],
    content: np.ndarray | None = None,
    *,
    name: str = "",
    element_type: int = schema.TensorType.FLOAT32,
    is_variable: bool = False,
    signature: Sequence[int] | None = None,
) -> int:
    """Add a tensor and return its index. `signature` has -1 for each open size of `shape`."""
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name, tensor.isVariable = list(shape), element_type, name, is_variable
    tensor.buffer = 0
    tensor.shapeSignature = None if signature is None else list(signature)
    if content is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def add_operator(
    model: schema.ModelT, code: int, inputs: list[int], outputs: list[int], options_type: int, options: object
) -> None:
    """Add a call of the model's operator number `code`."""
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    model.subgraphs[0].operators.append(operator)


def write_model(model: schema.ModelT, path: Path, inputs: list[int], outputs: list[int]) -> Path:
    """Write the model as a .tflite file."""
    model.subgraphs[0].inputs, model.subgraphs[0].outputs = inputs, outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
