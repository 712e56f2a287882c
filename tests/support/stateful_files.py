"""Small model files that keep a state between inferences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_files import add_operator, add_tensor, build_model, write_model

FEATURES = 3


def write_svdf(path: Path) -> Path:
    """Write a .tflite file with a variable tensor: y(t) = x(t) + x(t - 1), in each of FEATURES features.

    The operator SVDF keeps its last inputs, as an LSTM keeps its state. An addition of zero follows it, because the
    delegate takes no SVDF.
    """
    model = build_model(schema.BuiltinOperator.SVDF, schema.BuiltinOperator.ADD)
    identity = add_tensor(model, [FEATURES, FEATURES], np.eye(FEATURES, dtype=np.float32))
    ones = add_tensor(model, [FEATURES, 2], np.ones((FEATURES, 2), np.float32))
    state = add_tensor(model, [1, 2 * FEATURES], is_variable=True)
    zero = add_tensor(model, [1, FEATURES], np.zeros((1, FEATURES), np.float32))
    x, total, y = (add_tensor(model, [1, FEATURES], name=name) for name in ("x", "total", "y"))
    options = schema.SVDFOptionsT()
    options.rank = 1
    add_operator(model, 0, [x, identity, ones, -1, state], [total], schema.BuiltinOptions.SVDFOptions, options)
    add_operator(model, 1, [total, zero], [y], schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    return write_model(model, path, [x], [y])


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
