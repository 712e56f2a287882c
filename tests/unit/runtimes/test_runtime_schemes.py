"""Schemes of the runtimes: weights, ranges and scales in the exported files, compared with plain numpy."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from ai_edge_litert import schema_py_generated
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils
from onnx import TensorProto, helper, numpy_helper

from edgeproof.converters import onnx_quantization
from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.models import weight_rounding
from edgeproof.runtimes import openvino as openvino_runtime
from tests.support.training_tasks import make_ports

Array = np.ndarray[Any, Any]
Export = Callable[[str, str], Path]

RUNTIMES = ("tflite", "onnx", "openvino")
CHANNELS_IN, CHANNELS, SIDE, CLASSES = 3, 48, 8, 40


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    """Build two layers with heavy-tailed weights, as pruned networks have."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(CHANNELS_IN, CHANNELS, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(CHANNELS * (SIDE - 2) ** 2, CLASSES),
    ).eval()
    with torch.no_grad():
        for layer in (network[0], network[3]):
            tails = torch.distributions.StudentT(torch.tensor(3.0)).sample(layer.weight.shape)
            layer.weight.copy_(tails / layer.weight[0].numel() ** 0.5)
    return network


@pytest.fixture(scope="module")
def samples() -> Array:
    """Draw inputs with rare large values, for which the methods of calibration give different ranges."""
    values = np.random.default_rng(0).standard_t(4, (24, CHANNELS_IN, SIDE, SIDE))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def export(module: torch.nn.Module, samples: Array, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Return a function that exports `module` for a runtime in a scheme, once, and returns the directory."""
    root = tmp_path_factory.mktemp("artifacts")

    @functools.cache
    def export_once(runtime: str, scheme: str) -> Path:
        out = root / runtime / scheme
        out.mkdir(parents=True)
        plugins.load("runtimes", runtime).export(module, (samples,), scheme, out)
        return out

    return export_once


def predict(runtime: str, artifact: Path, samples: Array) -> Array:
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    return np.concatenate([session(samples[i : i + 1])[0].copy() for i in range(len(samples))])


def get_weights(module: torch.nn.Module) -> list[Array]:
    return [module[0].weight.detach().numpy(), module[3].weight.detach().numpy()]  # type: ignore[index, operator]


def compute_scales(weight: Array, levels: float) -> Array:
    """Return the symmetric scale of each output channel, which is the first axis."""
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    return (2 * largest / levels).astype(np.float32)


def round_weight(weight: Array, levels: float, lowest: int, highest: int) -> Array:
    scale = compute_scales(weight, levels)
    return np.clip(np.rint(weight / scale), lowest, highest) * scale


def round_as_nncf(weight: Array) -> Array:
    """Round as NNCF does: to 256 levels, the lowest at the weight of the largest magnitude, with float16 scales."""
    flat = weight.reshape(len(weight), -1)
    low, high = np.abs(flat.min(axis=1)), flat.max(axis=1)
    scale = (np.where(low >= high, low, -high) / 128).reshape([-1] + [1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / scale), -128, 127) * scale.astype(np.float16).astype(np.float32)


# --- weights alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "scheme", "round_"),
    [
        ("onnx", "int8-weights", functools.partial(round_weight, levels=254, lowest=-127, highest=127)),
        ("onnx", "int4-weights", functools.partial(round_weight, levels=15, lowest=-8, highest=7)),
        ("tflite", "int8-weights", functools.partial(round_weight, levels=254, lowest=-127, highest=127)),
        ("tflite", "int4-weights", functools.partial(round_weight, levels=14, lowest=-7, highest=7)),
        ("openvino", "int8-weights", round_as_nncf),
    ],
)
def test_integer_weights_give_the_outputs_of_torch_with_weights_rounded_in_each_output_channel(
    runtime: str,
    scheme: str,
    round_: Callable[[Array], Array],
    module: torch.nn.Module,
    samples: Array,
    export: Export,
) -> None:
    simulated = copy.deepcopy(module)
    with torch.no_grad():
        for layer in (simulated[0], simulated[3]):  # type: ignore[index]
            layer.weight.copy_(torch.from_numpy(round_(layer.weight.numpy())))
        expected = simulated(torch.from_numpy(samples)).numpy()
    outputs = predict(runtime, export(runtime, scheme), samples)
    assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("runtime", "scheme", "share"),
    [
        *((runtime, "fp16", 1 / 2) for runtime in RUNTIMES),
        *((runtime, "int8-weights", 1 / 4) for runtime in RUNTIMES),
        *((runtime, "int4-weights", 1 / 8) for runtime in ("tflite", "onnx")),
        ("tflite", "int4-static", 1 / 8),
        ("openvino", "bf16", 1 / 2),
    ],
)
def test_a_file_shrinks_by_as_much_as_its_weights(
    runtime: str, scheme: str, share: float, module: torch.nn.Module, export: Export
) -> None:
    full, small = (sum(p.stat().st_size for p in export(runtime, s).iterdir()) for s in ("fp32", scheme))
    weights_bytes = sum(weight.nbytes for weight in get_weights(module))
    assert (full - small) / weights_bytes == pytest.approx(1 - share, abs=0.02)


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "int8-weights", "int4-weights", "int8-dynamic", "int8-static"])
def test_the_nodes_of_an_onnx_file_are_in_the_order_that_the_standard_requires(scheme: str, export: Export) -> None:
    graph = onnx.load(export("onnx", scheme) / "model.onnx").graph
    known = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    for node in graph.node:
        assert known.issuperset(node.input), node.name
        known.update(node.output)


def test_onnx_weights_are_floats_again_before_the_first_inference(export: Export, tmp_path: Path) -> None:
    import onnxruntime as ort

    for scheme in ("int8-weights", "int4-weights"):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / scheme)
        ort.InferenceSession(export("onnx", scheme) / "model.onnx", options, providers=["CPUExecutionProvider"])
        left = {node.op_type for node in onnx.load(tmp_path / scheme).graph.node}
        assert not left & {"Cast", "Mul", "DequantizeLinear"}


def test_the_axis_of_output_channels_is_known_for_every_kind_of_onnx_layer() -> None:
    ends = [
        ("Conv", (4, 2, 3, 3), {}, 0),
        ("ConvTranspose", (2, 4, 3, 3), {}, 1),
        ("Gemm", (4, 2), {"transB": 1}, 0),
        ("Gemm", (2, 4), {}, 1),
        ("MatMul", (3, 2, 4), {}, 2),
    ]
    nodes, weights = [], []
    for number, (kind, shape, attributes, _) in enumerate(ends):
        nodes.append(helper.make_node(kind, [f"x{number}", f"w{number}"], [f"y{number}"], **attributes))
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"w{number}"))
    nodes.append(helper.make_node("Conv", ["x", "computed"], ["y"]))
    graph = helper.make_graph(nodes, "g", [], [], weights)
    assert onnx_quantization.find_weight_axes(graph) == {f"w{number}": axis for number, (*_, axis) in enumerate(ends)}


def test_a_layer_that_a_quantizer_left_in_fp32_is_noted(samples: Array, tmp_path: Path) -> None:
    """Export a convolution of one input channel. It becomes a depthwise one, which AI Edge Quantizer leaves in fp32."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3), torch.nn.Flatten()
    module = torch.nn.Sequential(*layers).eval()
    plugin = plugins.load("runtimes", "tflite")
    for scheme, remark in (("int4-weights", "left in fp32"), ("int4-static", "kept in int8")):
        result = plugin.export(module, (samples[:, :1],), scheme, tmp_path)
        assert result.notes == (f"weights of 1 DEPTHWISE_CONV_2D {remark}",)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_there_are_no_notes_if_every_layer_is_in_integers(
    runtime: str, module: torch.nn.Module, samples: Array, tmp_path: Path
) -> None:
    plugin = plugins.load("runtimes", runtime)
    for scheme in ("int8-weights", "int8-static", *(("int4-static",) if runtime == "tflite" else ())):
        assert plugin.export(module, (samples,), scheme, tmp_path).notes == ()


def test_openvino_refuses_4_bits_for_convolutions_and_accepts_them_for_fully_connected_layers(
    samples: Array, tmp_path: Path
) -> None:
    plugin = plugins.load("runtimes", "openvino")
    convolutions = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), torch.nn.Flatten()).eval()
    with pytest.raises(Unsupported, match=r"2 of this model's 2 layers at 8"):
        plugin.export(convolutions, (samples,), "int4-weights", tmp_path)
    assert not list(tmp_path.iterdir())
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 512), torch.nn.Linear(512, 256)
    connected = torch.nn.Sequential(*layers).eval()
    with torch.no_grad():
        expected = connected(torch.from_numpy(samples)).numpy()
    assert plugin.export(connected, (samples,), "int4-weights", tmp_path).notes == (
        "weights of 1 Convolution kept in int8",
    )
    weights = 144 * 512 + 512 * 256
    assert weights / 2 < (tmp_path / "model.bin").stat().st_size < weights / 2 * 1.15
    outputs = predict("openvino", tmp_path, samples)
    assert np.abs(outputs - expected).max() < 0.3 * np.abs(expected).max()


# --- bfloat16 ------------------------------------------------------------------------------------------------------


def test_bf16_weights_are_rounded_as_by_torch_and_no_constant_stays_in_fp32(
    module: torch.nn.Module, export: Export
) -> None:
    operations = ov.Core().read_model(export("openvino", "bf16") / "model.xml").get_ops()
    constants = [operation for operation in operations if operation.get_type_name() == "Constant"]
    assert not [o for o in constants if o.get_element_type() == ov.Type.f32]
    stored = [np.asarray(o.data).view(np.uint16) for o in constants if o.get_element_type() == ov.Type.bf16]
    for weight in get_weights(module):
        bits = torch.from_numpy(weight).to(torch.bfloat16).view(torch.uint16).numpy()
        assert any(array.size == bits.size and (array.ravel() == bits.ravel()).all() for array in stored)


def test_a_bf16_artifact_computes_in_bf16_or_is_refused(
    module: torch.nn.Module, samples: Array, export: Export
) -> None:
    artifact = export("openvino", "bf16")
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(Unsupported, match="no bfloat16"):
            openvino_runtime.Session(artifact, threads=1)
        return
    session = openvino_runtime.Session(artifact, threads=1)
    ran = [node.get_rt_info() for node in session._compiled.get_runtime_model().get_ops()]
    kinds = {info["layerType"].astype(str): info["runtimePrecision"].astype(str) for info in ran}
    assert kinds["Convolution"] == kinds["FullyConnected"] == "bf16"
    with torch.no_grad():
        expected = module(torch.from_numpy(samples)).numpy()
    error = np.abs(predict("openvino", artifact, samples) - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.02  # not fp32, and no worse than eight bits of mantissa


@pytest.mark.parametrize("lacking", ["instructions", "kernels"])
def test_bf16_is_refused_if_the_processor_lacks_it(
    lacking: str, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core(ov.Core):
        def get_property(self, device: str, name: str) -> Any:  # type: ignore[override]
            lists = name == "OPTIMIZATION_CAPABILITIES" and lacking == "instructions"
            return ["FP32", "INT8"] if lists else super().get_property(device, name)

        def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:  # type: ignore[override]
            plain = {**options, "INFERENCE_PRECISION_HINT": "f32"}
            return super().compile_model(model, device, plain if lacking == "kernels" else options)

    artifacts = export("openvino", "bf16"), export("openvino", "fp32")
    monkeypatch.setattr(ov, "Core", Core)
    with pytest.raises(Unsupported, match="no bfloat16 arithmetic"):
        openvino_runtime.Session(artifacts[0], threads=1)
    openvino_runtime.Session(artifacts[1], threads=1)


def test_onnx_runtime_has_no_bfloat16_convolution(tmp_path: Path) -> None:
    import onnxruntime as ort

    shapes = {"x": [1, 3, 8, 8], "y": [1, 4, 6, 6]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, shape) for name, shape in shapes.items())
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [4, 3, 3, 3], np.zeros(108))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    with pytest.raises(Exception, match="Could not find an implementation for Conv"):
        ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


# --- calibration ---------------------------------------------------------------------------------------------------


def read_onnx_ranges(artifact: Path) -> dict[str, tuple[float, float]]:
    """Read the range of each activation: the name of a QuantizeLinear's input, its lowest and its highest value."""
    graph = onnx.load(artifact / "model.onnx").graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    ranges = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = float(stored[node.input[1]]), int(stored[node.input[2]])
            ranges[node.input[0]] = ((0 - zero) * scale, (255 - zero) * scale)
    return ranges


def read_openvino_input_range(artifact: Path) -> tuple[float, float]:
    model = ov.Core().read_model(artifact / "model.xml")
    (reader,) = model.input(0).get_node().output(0).get_target_inputs()
    assert reader.get_node().get_type_name() == "FakeQuantize"
    low, high = (reader.get_node().input_value(place).get_node().data for place in (1, 2))
    return float(low.ravel()[0]), float(high.ravel()[0])


def read_tflite_input_range(artifact: Path) -> tuple[float, float]:
    (given,) = Interpreter(str(artifact / "model.tflite")).get_input_details()
    assert given["dtype"] == np.int8
    scale, zero = given["quantization"]
    return (-128 - zero) * scale, (127 - zero) * scale


def compute_squared_error(values: Array, low: float, high: float) -> float:
    """Return the mean squared error of rounding to 256 levels between two values."""
    step = (high - low) / 255
    return float(((np.clip(np.rint((values - low) / step), 0, 255) * step + low - values) ** 2).mean())


@pytest.mark.parametrize("scheme", ["int8-static-percentile", "int8-static-entropy"])
def test_onnx_ranges_lie_within_those_of_minima_and_maxima_and_some_are_narrower(scheme: str, export: Export) -> None:
    widest, ranges = read_onnx_ranges(export("onnx", "int8-static")), read_onnx_ranges(export("onnx", scheme))
    assert ranges.keys() == widest.keys()
    for name, (low, high) in ranges.items():
        step = (widest[name][1] - widest[name][0]) / 255
        assert widest[name][0] - step <= low <= high <= widest[name][1] + step
    assert min((ranges[n][1] - ranges[n][0]) / (widest[n][1] - widest[n][0]) for n in ranges) < 0.9


def test_the_onnx_percentile_range_equals_numpys_quantiles(samples: Array, export: Export) -> None:
    low, high = read_onnx_ranges(export("onnx", "int8-static-percentile"))["input"]
    bin_width = 2 * float(np.abs(samples).max()) / 2048
    expected = np.quantile(samples, [1e-4, 1 - 1e-4], method="inverted_cdf")
    assert [low, high] == pytest.approx(expected, abs=2 * bin_width)


@pytest.mark.parametrize(
    ("input_range", "runtime"),
    [
        (lambda path: read_onnx_ranges(path)["input"], "onnx"),
        (read_openvino_input_range, "openvino"),
        (read_tflite_input_range, "tflite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_minmax_range_equals_numpys_in_every_runtime(
    input_range: Callable[[Path], tuple[float, float]], runtime: str, samples: Array, export: Export
) -> None:
    expected = [samples.min(), samples.max()]
    assert input_range(export(runtime, "int8-static-minmax")) == pytest.approx(expected, rel=0.01)


def test_int8_static_of_onnx_runtime_equals_int8_static_minmax(export: Export) -> None:
    files = [(export("onnx", scheme) / "model.onnx").read_bytes() for scheme in ("int8-static", "int8-static-minmax")]
    assert files[0] == files[1]


def test_tflite_ranges_are_moving_averages_of_each_samples_minimum_and_maximum(samples: Array, export: Export) -> None:
    flat = samples.reshape(len(samples), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    expected = [functools.reduce(lambda held, new: 0.95 * held + 0.05 * new, ends) for ends in (low, high)]
    assert read_tflite_input_range(export("tflite", "int8-static")) == pytest.approx(expected, rel=0.01)


def test_openvino_ranges_are_averages_of_each_samples_extremes_or_quantiles(samples: Array, export: Export) -> None:
    flat = samples.reshape(len(samples), -1)
    extremes = flat.min(axis=1).mean(), flat.max(axis=1).mean()
    assert read_openvino_input_range(export("openvino", "int8-static")) == pytest.approx(extremes, rel=0.01)
    quantiles = np.quantile(flat, [1e-4, 1 - 1e-4], axis=1).mean(axis=1)
    assert read_openvino_input_range(export("openvino", "int8-static-percentile")) == pytest.approx(quantiles, rel=0.01)


def test_the_range_of_openvinos_int8_static_mse_has_a_small_squared_error(samples: Array, export: Export) -> None:
    least = compute_squared_error(samples, *read_openvino_input_range(export("openvino", "int8-static-mse")))
    assert least < 1.02 * compute_squared_error(
        samples, float(samples.min()), float(samples.max())
    )  # zero has to be a level
    assert least < 0.9 * compute_squared_error(samples, *read_openvino_input_range(export("openvino", "int8-static")))


# --- static weights ------------------------------------------------------------------------------------------------


def read_tflite_weights(artifact: Path) -> dict[tuple[int, ...], tuple[Array, Array]]:
    """Read the dequantized weights of layers and their scales, by shape."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(artifact / "model.tflite"), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    places = {"CONV_2D": 1, "FULLY_CONNECTED": 1}
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    weights = {}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in places:
            tensor = details[operator["inputs"][1]]
            parameters = tensor["quantization_parameters"]
            assert tensor["dtype"] == np.int8
            assert not parameters["zero_points"].any()
            integers = interpreter.get_tensor(tensor["index"]).astype(np.float32)
            scales = parameters["scales"].reshape([-1] + [1] * (integers.ndim - 1))
            weights[integers.shape] = integers * scales, parameters["scales"]
    return weights


def move_channels_last(weight: Array) -> Array:
    return np.moveaxis(weight, 1, -1) if weight.ndim == 4 else weight


def test_tflite_weights_have_a_scale_for_each_output_channel_or_for_the_tensor(
    module: torch.nn.Module, export: Export
) -> None:
    first = move_channels_last(get_weights(module)[0])
    weights, scales = read_tflite_weights(export("tflite", "int8-static"))[first.shape]
    np.testing.assert_allclose(scales, compute_scales(first, 254).ravel(), rtol=1e-5)
    np.testing.assert_allclose(weights, round_weight(first, 254, -127, 127), rtol=1e-5, atol=1e-7)
    _, scales = read_tflite_weights(export("tflite", "int8-static-tensor"))[first.shape]
    np.testing.assert_allclose(scales, [np.abs(first).max() / 127], rtol=1e-5)


def test_tflite_stores_weights_that_a_model_has_rounded_to_four_bits_as_they_are(
    module: torch.nn.Module, samples: Array, tmp_path: Path
) -> None:
    rounded = copy.deepcopy(module)
    for layer in (rounded[0], rounded[3]):  # type: ignore[index]
        layer.weight.data = weight_rounding.round_weight(layer.weight.data, bits=4)
    plugins.load("runtimes", "tflite").export(rounded, (samples,), "int4-static", tmp_path)
    stored = read_packed_tflite_weights(tmp_path)
    for weight in map(move_channels_last, get_weights(rounded)):
        np.testing.assert_allclose(stored[weight.shape], weight, rtol=1e-6)


def read_packed_tflite_weights(artifact: Path) -> dict[tuple[int, ...], Array]:
    """Return the dequantized 4-bit tensors of a file by shape. A byte holds two integers, the first in its low bits."""
    model = flatbuffer_utils.read_model(str(artifact / "model.tflite"))
    weights = {}
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema_py_generated.TensorType.INT4:
            data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
            nibbles = np.stack([data & 15, data >> 4], axis=-1).ravel()[: np.prod(tensor.shape)].astype(np.int8)
            integers = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(tensor.shape)
            scales = np.asarray(tensor.quantization.scale, np.float32)
            weights[tuple(tensor.shape)] = integers * scales.reshape([-1] + [1] * (integers.ndim - 1))
    return weights


def test_clipped_tflite_weights_have_a_smaller_squared_error(module: torch.nn.Module, export: Export) -> None:
    plain, clipped = (read_tflite_weights(export("tflite", scheme)) for scheme in ("int8-static", "int8-static-mse"))
    second = get_weights(module)[1]
    errors = [float(((weights[second.shape][0] - second) ** 2).sum()) for weights in (plain, clipped)]
    assert errors[1] < errors[0]
    assert (clipped[second.shape][1] <= plain[second.shape][1] * 1.00001).all()


@pytest.mark.parametrize(("scheme", "per_tensor"), [("int8-static", False), ("int8-static-tensor", True)])
def test_onnx_weights_have_a_scale_for_each_output_channel_or_for_the_tensor(
    scheme: str, per_tensor: bool, module: torch.nn.Module, export: Export
) -> None:
    graph = onnx.load(export("onnx", scheme) / "model.onnx").graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = {node.op_type: node.input[1] for node in graph.node if node.op_type in ("Conv", "Gemm")}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for kind, weight in zip(("Conv", "Gemm"), get_weights(module), strict=True):
        maker = makers[layers[kind]]
        integers, scale, zero = (stored[name] for name in maker.input)
        expected = np.abs(weight).max() / 127 if per_tensor else compute_scales(weight, 254).ravel()
        np.testing.assert_allclose(scale, expected, rtol=1e-5)
        assert integers.dtype == np.int8
        assert not zero.any()
        if not per_tensor:
            assert [a.i for a in maker.attribute if a.name == "axis"] == [0]
        shaped = scale.reshape([-1] + [1] * (weight.ndim - 1))
        assert np.abs(integers - weight / shaped).max() <= 0.5001


def test_openvino_weights_have_a_scale_for_each_output_channel_or_for_the_tensor(export: Export) -> None:
    sizes = {}
    for scheme in ("int8-static", "int8-static-tensor"):
        model = ov.Core().read_model(export("openvino", scheme) / "model.xml")
        (layer,) = [operation for operation in model.get_ops() if operation.get_type_name() == "Convolution"]
        scaled = layer.input_value(1).get_node()
        assert scaled.get_type_name() == "Multiply"
        sizes[scheme] = scaled.input_value(1).get_node().data.size
    assert sizes == {"int8-static": CHANNELS, "int8-static-tensor": 1}


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_tflite_clips_weights_also_if_other_constants_are_quantized(name: str, tmp_path: Path) -> None:
    options = {
        "gru": {"hidden": 16},
        "transformer": {"patch": (2, 2), "width": 16, "depth": 1, "heads": 2, "expansion": 2},
    }
    torch.manual_seed(0)
    network = plugins.load("networks", name).build(*make_ports((1, 8, 8), 10), **options[name]).eval()
    samples = np.random.default_rng(0).standard_normal((32, 1, 8, 8)).astype(np.float32)
    plugins.load("runtimes", "tflite").export(network, (samples,), "int8-static-mse", tmp_path)
    with torch.no_grad():
        expected = network(torch.from_numpy(samples)).numpy()
    error = np.abs(predict("tflite", tmp_path, samples) - expected).max() / np.abs(expected).max()
    assert error < 0.5  # averages of extremes clip what a GRU needs: int8-static is no better
