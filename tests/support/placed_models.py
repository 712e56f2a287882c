"""Small model files whose placement is known from the engines' documentation, built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from tests.support import tflite_files

SHAPE = (1, 4, 8, 8)


def make_input() -> np.ndarray:
    """Return an input of the ONNX and OpenVINO models."""
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def write_reversed_sum(directory: Path) -> None:
    """Write y = 2 · reverse(2 · x) as a .tflite file. XNNPACK has ADD, but no kernel for REVERSE_V2."""
    operators, options = schema.BuiltinOperator, schema.BuiltinOptions
    model = tflite_files.build_model(operators.ADD, operators.REVERSE_V2)
    axis = tflite_files.add_tensor(model, [1], np.array([1], np.int32), element_type=schema.TensorType.INT32)
    x, total, back, y = (tflite_files.add_tensor(model, [1, 3], name=name) for name in ("x", "total", "back", "y"))
    tflite_files.add_operator(model, 0, [x, x], [total], options.AddOptions, schema.AddOptionsT())
    reverse = schema.ReverseV2OptionsT()
    tflite_files.add_operator(model, 1, [total, axis], [back], options.ReverseV2Options, reverse)
    tflite_files.add_operator(model, 0, [back, back], [y], options.AddOptions, schema.AddOptionsT())
    tflite_files.write_model(model, directory / "model.tflite", [x], [y])


def write_quantized_onnx(directory: Path, *, gap: str = "Erf") -> None:
    """Write a quantized Conv, an operator of type `gap` that has no integer kernel, and a quantized Conv."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []

    def quantize(name: str) -> str:
        nodes.append(
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_q"], name=f"{name}_quantize")
        )
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_dq"]))
        return f"{name}_dq"

    def add_conv(source: str, target: str) -> None:
        weight = rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
        constants.append(numpy_helper.from_array(weight, f"{target}_weight"))
        inputs = [f"{target}_weight", "weight_scale", "weight_zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{target}_weight_dq"]))
        inputs = [source, f"{target}_weight_dq"]
        nodes.append(helper.make_node("Conv", inputs, [target], name=target, pads=[1, 1, 1, 1]))

    scalars = {"scale": np.float32(0.05), "zero": np.uint8(128), "weight_scale": np.float32(0.01)}
    scalars["weight_zero"] = np.int8(0)
    constants += [numpy_helper.from_array(np.array(value), name) for name, value in scalars.items()]
    add_conv(quantize("x"), "first")
    nodes.append(helper.make_node(gap, [quantize("first")], ["gap"], name="gap"))
    add_conv(quantize("gap"), "second")
    nodes.append(helper.make_node("Identity", [quantize("second")], ["y"]))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "placed", ports[:1], ports[1:], constants)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), directory / "model.onnx")


def write_quantized_openvino(directory: Path) -> None:
    """Write a Convolution whose input and weights are quantized, and one that the file leaves in float."""
    import openvino as ov
    from openvino import opset13

    rng = np.random.default_rng(0)
    x = opset13.parameter(list(SHAPE), np.float32, name="x")
    limits = [np.array(value, np.float32) for value in (-6.4, 6.35, -6.4, 6.35)]
    first = opset13.fake_quantize(x, *limits, 256)
    integers = opset13.constant(rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8))
    weight = opset13.multiply(
        opset13.convert(integers, np.float32), opset13.constant(np.full((4, 1, 1, 1), 0.01, np.float32))
    )
    geometry = {"strides": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1], "dilations": [1, 1]}
    quantized = opset13.convolution(first, weight, **geometry, name="quantized")
    plain = opset13.constant(rng.standard_normal((4, 4, 3, 3)).astype(np.float32))
    y = opset13.convolution(quantized, plain, **geometry, name="plain")
    ov.save_model(ov.Model([y], [x], "placed"), directory / "model.xml", compress_to_fp16=False)
