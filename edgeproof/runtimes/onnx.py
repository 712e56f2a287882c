"""ONNX Runtime: torch.onnx.export, onnxruntime.quantization, and a session with bound buffers."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.errors import Unsupported
from edgeproof.core.profiles import Operator, Profile, call_repeatedly
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.onnx"
ADOPTS = (".onnx",)
OPSET = 18
INT4_OPSET, INT4_IR = 21, 10  # the first that know the type
PROVIDER = "CPUExecutionProvider"
PROFILED, KERNEL = 50, "_kernel_time"  # inferences that are profiled, and the ending of an event that is a node's
# ONNX Runtime's names of the element types that a Session can feed and fetch.
TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
# Operators with weights as their second input.
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Ranges of activations by ONNX Runtime's calibrators: 0.01% of the values outside on either side, or the least
# divergence. With its default of 128 bins for 128 levels the entropy calibrator has nothing to choose from.
CALIBRATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "int8-static": ("MinMax", {}),
    "int8-static-minmax": ("MinMax", {}),
    "int8-static-tensor": ("MinMax", {}),
    "int8-static-percentile": ("Percentile", {"symmetric": False, "percentile": 99.98}),
    "int8-static-entropy": ("Entropy", {"num_bins": 512, "num_quantized_bins": 128}),
}
REFUSED = {
    "bf16": "ONNX Runtime's CPU provider has no bfloat16 kernel for convolutions",
    "int8-static-mse": "ONNX Runtime calibrates by minima and maxima, percentiles or entropy, not by squared error",
}

_float_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> ExportResult:
    """Lower to ONNX, then quantize with ONNX Runtime's own tools. `samples` is (N, *input_shape) float32."""
    from edgeproof.models import qat

    if scheme in REFUSED:
        raise Unsupported(REFUSED[scheme])
    model = qat.select_for_export(model, "onnx", scheme)
    lower: Callable[[], object] | None = {
        "fp32": lambda: _export_fp32(model, samples, out_dir / FILE),
        "fp16": lambda: _export_fp16(model, samples, out_dir),
        "int8-weights": lambda: _export_weights(model, samples, out_dir, "INT8"),
        "int4-weights": lambda: _export_weights(model, samples, out_dir, "INT4"),
        "int8-dynamic": lambda: _export_int8_dynamic(model, samples, out_dir),
        **dict.fromkeys(CALIBRATIONS, lambda: _export_int8_static(model, samples, out_dir, scheme)),
        qat.SCHEME: lambda: (out_dir / FILE).write_bytes(_converted(model, samples)),
    }.get(scheme)
    if lower is None:
        raise Unsupported(f"the onnx runtime has no scheme '{scheme}'")
    lower()
    return ExportResult(notes=_left_in_float(out_dir / FILE) if scheme.startswith("int") else ())


def read_interface(path: Path) -> ModelInterface:
    """What an .onnx file takes and answers. Raises ValueError where it leaves even the number of axes open."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in constants]
    return ModelInterface(tuple(map(_port, given)), tuple(map(_port, graph.output)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> ExportResult:
    """Take an .onnx file as it is, or with what it leaves open closed: a batch of one, weights in the file itself.

    Another output than the first is moved to the front, and all are still computed.
    """
    import onnx

    declared = read_interface(path)
    fixed = all(None not in port.shape for port in (*declared.inputs, *declared.outputs))
    skeleton = onnx.load(path, load_external_data=False)
    elsewhere = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in skeleton.graph.initializer)
    if fixed and output == 0 and not elsewhere:
        shutil.copyfile(path, out_dir / FILE)
        return ExportResult()
    model = onnx.load(path)
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend([outputs.pop(output), *outputs])
    if not fixed:
        _close(model, declared.inputs[0], input_shape)
    onnx.save(model, out_dir / FILE)
    return ExportResult()


class Session(InferenceSession):
    """Runs model.onnx with input and output buffers bound once; integers and halves are cast inside the call."""

    def __init__(self, artifact_dir: Path, *, threads: int, profile: Path | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        self._session = ort.InferenceSession(artifact_dir / FILE, options, providers=[PROVIDER])
        described, produced = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input = np.zeros(described.shape, TYPES[described.type])
        self._answer = np.zeros(produced.shape, TYPES[produced.type])
        self._output = self._answer if self._answer.dtype == np.float32 else self._answer.astype(np.float32)
        binding = self._session.io_binding()
        binding.bind_cpu_input(described.name, self._input)
        binding.bind_output(
            produced.name, "cpu", 0, self._answer.dtype, list(self._answer.shape), self._answer.ctypes.data
        )
        self._binding = binding
        self._run = self._session.run_with_iobinding

    def feed(self, x: Array) -> None:
        self._input[...] = x

    def invoke(self) -> None:
        self._run(self._binding)

    def fetch(self) -> Array:
        if self._answer is not self._output:
            self._output[...] = self._answer
        return self._output

    def fallbacks(self) -> list[str]:
        used: list[str] = self._session.get_providers()
        return [] if used[0] == PROVIDER else [f"ran on {used[0]} instead of {PROVIDER}"]

    def end_profiling(self) -> Path:
        """The file that the profiler wrote."""
        return Path(self._session.end_profiling())


def profile(artifact_dir: Path, x: Array, *, threads: int) -> Profile:
    """Each node's kernel time by ONNX Runtime's profiler."""
    with tempfile.TemporaryDirectory() as scratch:
        session = Session(artifact_dir, threads=threads, profile=Path(scratch, "profile"))
        session(x)
        count = call_repeatedly(lambda: session(x), PROFILED)
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    found: dict[str, list[Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            found.setdefault(event["name"], []).append(event)
    operators = [
        Operator(
            name.removesuffix(KERNEL), runs[0]["args"]["op_name"], runs[0]["args"]["provider"], 1000 * _middle(runs)
        )
        for name, runs in found.items()
    ]
    return Profile("ONNX Runtime's profiler: mean of the middle half, from whole microseconds", count, operators)


def _middle(runs: list[Any]) -> float:
    """The mean of the middle half of durations in whole µs: as unmoved by interruptions as the median, and finer."""
    durations = sorted(float(run["dur"]) for run in runs[1:] or runs)
    quarter = len(durations) // 4
    kept = durations[quarter : len(durations) - quarter]
    return sum(kept) / len(kept)


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import onnxruntime as ort

    return {"build": ort.get_build_info()}


def _port(value: Any) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        raise ValueError(f"'{value.name}' has no shape")
    return TensorSpec(
        name=value.name,
        shape=tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
    )


def _close(model: Any, port: TensorSpec, input_shape: Sequence[int]) -> None:
    """Write the input's shape into the model, and into its outputs the shapes that they have when it runs."""
    import onnxruntime as ort

    graph = model.graph
    given = next(value for value in graph.input if value.name == port.name)
    for size, fixed in zip(given.type.tensor_type.shape.dim, input_shape, strict=True):
        size.dim_value = fixed
    del graph.value_info[:]  # shapes in between, some still open, which ONNX Runtime infers anyway
    session = ort.InferenceSession(model.SerializeToString(), providers=[PROVIDER])
    answers = session.run(None, {port.name: np.zeros(input_shape, port.dtype)})
    for value, answer in zip(graph.output, answers, strict=True):
        del value.type.tensor_type.shape.dim[:]
        for size in np.shape(answer):
            value.type.tensor_type.shape.dim.add().dim_value = size


def _export_fp32(model: nn.Module, samples: Array, path: Path) -> None:
    """Write the float file. Remembered for as long as the module lives: every scheme starts from it."""
    if model not in _float_files:
        _float_files[model] = _converted(model, samples)
    path.write_bytes(_float_files[model])


def _converted(model: nn.Module, samples: Array) -> bytes:
    """The ONNX file of a module, in the numbers that it computes with."""
    import torch

    program = torch.onnx.export(
        model,
        (torch.from_numpy(samples[:1]),),
        input_names=["input"],
        output_names=["output"],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    # The exporter keeps Python stack traces, which hold this machine's paths, as node metadata.
    for holder in [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer]:
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
    for value in [*proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    return bytes(proto.SerializeToString(deterministic=True))


def _export_fp16(model: nn.Module, samples: Array, out_dir: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _export_fp32(model, samples, out_dir / FILE)
    half = convert_float_to_float16(onnx.load(out_dir / FILE), keep_io_types=True)
    onnx.save(half, out_dir / FILE)


def _export_int8_dynamic(model: nn.Module, samples: Array, out_dir: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared = _prepared(model, samples, out_dir)
    quantize_dynamic(prepared, out_dir / FILE, weight_type=QuantType.QUInt8)
    prepared.unlink()


def _export_int8_static(model: nn.Module, samples: Array, out_dir: Path, scheme: str) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    method, options = CALIBRATIONS[scheme]
    prepared, ranges = _prepared(model, samples, out_dir), out_dir / "ranges.json"
    _calibrate(prepared, samples, CalibrationMethod[method], options, ranges)
    quantize_static(
        prepared,
        out_dir / FILE,
        quant_format=QuantFormat.QDQ,
        per_channel=scheme != "int8-static-tensor",
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
        calibration_cache_path=ranges,
    )
    prepared.unlink()
    ranges.unlink()


def _calibrate(prepared: Path, samples: Array, method: Any, options: dict[str, Any], ranges: Path) -> None:
    """Write the ranges of all tensors over all samples. quantize_static's own way sets no number of bins."""
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator
    from onnxruntime.quantization.calibrate import save_tensors_data

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Feeds the calibration samples one at a time."""

        def __init__(self) -> None:
            self._feed: Iterator[dict[str, Array]] = iter({"input": samples[i : i + 1]} for i in range(len(samples)))

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feed, None)

    with tempfile.TemporaryDirectory() as scratch:
        augmented = str(Path(scratch, "augmented.onnx"))
        calibrator = create_calibrator(
            prepared, augmented_model_path=augmented, calibrate_method=method, extra_options=options
        )
        calibrator.collect_data(Reader())
    save_tensors_data(calibrator.compute_data(), ranges)


def _export_weights(model: nn.Module, samples: Array, out_dir: Path, kind: str) -> None:
    """Keep layers' weights as integers with a scale an output channel; all arithmetic stays fp32.

    A cast and a product bring them back, which ONNX Runtime folds when it loads the file. DequantizeLinear it keeps
    for its integer kernels, and would run at every inference.
    """
    import onnx

    prepared = _prepared(model, samples, out_dir)
    proto = onnx.load(prepared)
    prepared.unlink()
    if kind == "INT4":
        proto = onnx.version_converter.convert_version(proto, INT4_OPSET)
        proto.ir_version = max(proto.ir_version, INT4_IR)
    graph = proto.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    unpacking = []
    for name, axis in _weights(graph).items():
        nodes, tensors = _unpacked(stored[name], axis, onnx.TensorProto.DataType.Value(kind))
        unpacking += nodes
        graph.initializer.remove(stored[name])
        graph.initializer.extend(tensors)
    unpacking += graph.node
    del graph.node[:]
    graph.node.extend(unpacking)
    (out_dir / FILE).write_bytes(proto.SerializeToString(deterministic=True))


def _weights(graph: Any) -> dict[str, int]:
    """Layers' floating-point weights by name, with the axis of their output channels."""
    from onnx import TensorProto, helper

    floats = {t.name: len(t.dims) for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    found = {}
    for node in graph.node:
        if node.op_type not in LAYERS or node.input[1] not in floats:
            continue
        transposed = any(a.name == "transB" and helper.get_attribute_value(a) for a in node.attribute)
        axes = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": floats[node.input[1]] - 1}
        found[node.input[1]] = axes[node.op_type]
    return found


def _unpacked(weight: Any, axis: int, kind: int) -> tuple[list[Any], list[Any]]:
    """A weight in integers by ONNX Runtime's own rounding: the nodes that make it a float again, and what they need."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization.quant_utils import compute_data_quant_params, quantize_onnx_initializer

    name, values = weight.name, numpy_helper.to_array(weight)
    channels = np.moveaxis(values, axis, 0)
    zeros, scales = zip(*(compute_data_quant_params(c.ravel(), kind, symmetric=True) for c in channels), strict=True)
    integers = quantize_onnx_initializer(weight, kind, np.array(zeros), np.array(scales), axis, f"{name}_integers")
    shape = [-1 if place == axis else 1 for place in range(values.ndim)]
    scale = numpy_helper.from_array(np.array(scales, np.float32).reshape(shape), f"{name}_scale")
    cast = helper.make_node("Cast", [integers.name], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT)
    product = helper.make_node("Mul", [f"{name}_cast", scale.name], [name], name=f"{name}_product")
    return [cast, product], [integers, scale]


def _left_in_float(path: Path) -> tuple[str, ...]:
    """Which layers still hold fp32 weights, for the table."""
    import onnx

    graph = onnx.load(path).graph
    floats = _weights(graph)
    left = Counter(node.op_type for node in graph.node if node.op_type in LAYERS and node.input[1] in floats)
    return tuple(f"weights of {count} {kind} left in fp32" for kind, count in sorted(left.items()))


def _prepared(model: nn.Module, samples: Array, out_dir: Path) -> Path:
    """The fp32 model after ONNX Runtime's own pre-processing (shape inference, batch-norm folding)."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exported, prepared = out_dir / "exported.onnx", out_dir / "prepared.onnx"
    _export_fp32(model, samples, exported)
    quant_pre_process(exported, prepared)
    exported.unlink()
    return prepared
