"""Quantization of torch modules to ONNX files with ONNX Runtime's own tools."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.converters.onnx import convert_fp32, name_ports

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

INT4_OPSET, INT4_IR_VERSION = 21, 10  # the first versions that have 4-bit integers
# Operators whose second input is a weight.
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# When ONNX Runtime fuses a MatMul and an Add, the names of the new tensors begin with this prefix.
FUSED = "gemm_"


@dataclass(frozen=True)
class Calibration:
    """A method of ONNX Runtime that estimates the ranges of activations, and its options."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)


# The percentile leaves 0.01% of the values outside on either side. The entropy calibrator needs more bins than levels:
# with its default of 128 bins for 128 levels, there is only one candidate.
CALIBRATIONS = {
    "int8-static": Calibration("MinMax"),
    "int8-static-minmax": Calibration("MinMax"),
    "int8-static-tensor": Calibration("MinMax"),
    "int8-static-percentile": Calibration("Percentile", {"symmetric": False, "percentile": 99.98}),
    "int8-static-entropy": Calibration("Entropy", {"num_bins": 512, "num_quantized_bins": 128}),
}


def write_int8_dynamic(model: nn.Module, samples: tuple[Array, ...], path: Path) -> None:
    """Write the module with int8 weights. ONNX Runtime finds the ranges of activations during each inference."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    preprocessed = _write_preprocessed(model, samples, path.parent)
    quantize_dynamic(preprocessed, path, weight_type=QuantType.QUInt8)
    preprocessed.unlink()


def write_int8_static(
    model: nn.Module, samples: tuple[Array, ...], scheme: str, path: Path, *, symmetric: bool = False
) -> None:
    """Write the module with int8 weights and activations, whose ranges are calibrated on all samples.

    `scheme` is a key of CALIBRATIONS. Weights have one scale for each output channel, or for the whole tensor in
    int8-static-tensor. `symmetric` is for engines such as TensorRT: all zero points are zero, and biases stay fp32.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    calibration = CALIBRATIONS[scheme]
    preprocessed, ranges = _write_preprocessed(model, samples, path.parent), path.parent / "ranges.json"
    _write_ranges(preprocessed, samples, calibration, ranges)
    quantize_static(
        preprocessed,
        path,
        quant_format=QuantFormat.QDQ,
        per_channel=scheme != "int8-static-tensor",
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[calibration.method],
        calibration_cache_path=ranges,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False} if symmetric else {},
    )
    preprocessed.unlink()
    ranges.unlink()


def write_integer_weights(model: nn.Module, samples: tuple[Array, ...], bits: int, path: Path) -> None:
    """Write the module with weights of 8 or 4 bits and one scale for each output channel. All arithmetic stays fp32.

    A Cast and a Mul turn the integers into floats. ONNX Runtime folds both when it loads the file. It would keep a
    DequantizeLinear for its integer kernels, and run it in every inference.
    """
    import onnx

    preprocessed = _write_preprocessed(model, samples, path.parent)
    proto = onnx.load(preprocessed)
    preprocessed.unlink()
    if bits == 4:
        proto = onnx.version_converter.convert_version(proto, INT4_OPSET)
        proto.ir_version = max(proto.ir_version, INT4_IR_VERSION)
    graph = proto.graph
    _rename_fused_tensors(graph)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for name, axis in find_weight_axes(graph).items():
        unpacking_nodes, tensors = _pack_weight(initializers[name], axis, onnx.TensorProto.DataType.Value(f"INT{bits}"))
        nodes += unpacking_nodes
        graph.initializer.remove(initializers[name])
        graph.initializer.extend(tensors)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _rename_fused_tensors(graph: Any) -> None:
    """Rename the tensors of fused layers. ONNX Runtime would create the same names when it fuses more on loading."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f"prepared_{name}" if name.startswith(FUSED) else name for name in names]
    for tensor in [*graph.initializer, *graph.value_info]:
        if tensor.name.startswith(FUSED):
            tensor.name = f"prepared_{tensor.name}"


def find_weight_axes(graph: Any) -> dict[str, int]:
    """Find the fp32 weights of layers and the tables of embeddings in an ONNX graph.

    Returns name → axis of the output channels, or of the rows of a table.
    """
    from onnx import TensorProto, helper

    ranks = {t.name: len(t.dims) for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    channel_axes = {}
    for node in graph.node:
        if node.op_type == "Gather" and ranks.get(node.input[0]) == 2:
            channel_axes[node.input[0]] = 0
        if node.op_type not in LAYERS or node.input[1] not in ranks:
            continue
        transposed = any(a.name == "transB" and helper.get_attribute_value(a) for a in node.attribute)
        axes = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": ranks[node.input[1]] - 1}
        channel_axes[node.input[1]] = axes[node.op_type]
    return channel_axes


def count_layers(path: Path) -> Counter[tuple[str, str]]:
    """Count the layers of a quantized file that still hold fp32 weights, by operator type and element type."""
    import onnx

    graph = onnx.load(path).graph
    weights = find_weight_axes(graph)
    return Counter((node.op_type, "f32") for node in graph.node if node.op_type in LAYERS and node.input[1] in weights)


def _write_preprocessed(model: nn.Module, samples: tuple[Array, ...], directory: Path) -> Path:
    """Write the fp32 file after ONNX Runtime's preprocessing (shape inference, folding of batch norms)."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exported, preprocessed = directory / "exported.onnx", directory / "prepared.onnx"
    exported.write_bytes(convert_fp32(model, samples))
    quant_pre_process(exported, preprocessed)
    exported.unlink()
    return preprocessed


def _write_ranges(preprocessed: Path, samples: tuple[Array, ...], calibration: Calibration, path: Path) -> None:
    """Calibrate on all samples and write the ranges of all tensors.

    quantize_static could calibrate by itself, but it does not pass the number of bins to the calibrator.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
    from onnxruntime.quantization.calibrate import save_tensors_data

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Yields the calibration samples one at a time."""

        def __init__(self) -> None:
            names = name_ports("input", len(samples))
            rows = ([array[i : i + 1] for array in samples] for i in range(len(samples[0])))
            self._feed: Iterator[dict[str, Array]] = (dict(zip(names, row, strict=True)) for row in rows)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feed, None)

    with tempfile.TemporaryDirectory() as scratch:
        calibrator = create_calibrator(
            preprocessed,
            augmented_model_path=str(Path(scratch, "augmented.onnx")),
            calibrate_method=CalibrationMethod[calibration.method],
            extra_options=calibration.options,
        )
        calibrator.collect_data(Reader())
    save_tensors_data(calibrator.compute_data(), path)


def _pack_weight(weight: Any, axis: int, element_type: int) -> tuple[list[Any], list[Any]]:
    """Round a weight to integers as ONNX Runtime's quantizer does.

    Returns the nodes that turn the integers into a float tensor of the weight's name, and the tensors that they read.
    """
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization.quant_utils import compute_data_quant_params, quantize_onnx_initializer

    name, values = weight.name, numpy_helper.to_array(weight)
    channels = np.moveaxis(values, axis, 0)
    parameters = (compute_data_quant_params(channel.ravel(), element_type, symmetric=True) for channel in channels)
    zeros, scales = zip(*parameters, strict=True)
    integers = quantize_onnx_initializer(
        weight, element_type, np.array(zeros), np.array(scales), axis, f"{name}_integers"
    )
    shape = [-1 if place == axis else 1 for place in range(values.ndim)]
    scale = numpy_helper.from_array(np.array(scales, np.float32).reshape(shape), f"{name}_scale")
    cast = helper.make_node("Cast", [integers.name], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT)
    product = helper.make_node("Mul", [f"{name}_cast", scale.name], [name], name=f"{name}_product")
    return [cast, product], [integers, scale]
