"""ONNX Runtime: export to ONNX, and a session whose buffers are bound once."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface
from edgeproof.core.errors import Unsupported
from edgeproof.core.layer_graphs import LayerGraph
from edgeproof.core.placements import PlacedOperator
from edgeproof.core.profiles import Operator, Profile, call_repeatedly
from edgeproof.core.sessions import InferenceSession, choose_port_dtype

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

# Since 1.29 the engine sends names and hashes of models to Microsoft, from one more thread, also during measurements.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

FILE = "model.onnx"
ADOPTS = (".onnx",)
PROVIDER = "CPUExecutionProvider"
PROFILED_INFERENCES = 50
KERNEL_SUFFIX = "_kernel_time"  # ends the name of every profiler event that times a node
# Beginnings of the names of kernels that compute in integers.
INTEGER_KERNELS = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger", "ConvInteger")
LAYERS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
# Nodes that convert numbers or move them and compute nothing.
MOVES = (
    *("QuantizeLinear", "DequantizeLinear", "Cast", "ReorderInput", "ReorderOutput", "Reshape", "Flatten", "Transpose"),
    *("Squeeze", "Unsqueeze", "Identity", "Concat", "Slice", "Split", "Gather", "Shape", "Expand", "Pad"),
)
# ONNX Runtime's names of the element types that a Session can feed and fetch.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
}
UNSUPPORTED_SCHEMES = {
    "bf16": "ONNX Runtime's CPU provider has no bfloat16 kernel for convolutions",
    "int8-static-mse": "ONNX Runtime calibrates by minima and maxima, percentiles or entropy, not by squared error",
    "int4-static": "ONNX Runtime has no integer kernels for convolutions with 4-bit weights",
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to ONNX and quantize it with ONNX Runtime's own tools: see converters/onnx_quantization.py.

    `samples` have an array (N, *shape) for each input and calibrate the static schemes. Raises Unsupported for a scheme
    that ONNX Runtime does not have.
    """
    from edgeproof.converters import onnx as converter
    from edgeproof.converters import onnx_quantization as quantization
    from edgeproof.converters.wide_layers import describe_wide_layers

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    path = out_dir / FILE
    writers: dict[str, Callable[[], object]] = {
        "fp32": lambda: path.write_bytes(converter.convert_fp32(model, samples)),
        "fp16": lambda: converter.write_fp16(model, samples, path),
        "int8-weights": lambda: quantization.write_integer_weights(model, samples, 8, path),
        "int4-weights": lambda: quantization.write_integer_weights(model, samples, 4, path),
        "int8-dynamic": lambda: quantization.write_int8_dynamic(model, samples, path),
        # int8-static and its variants, which differ in the calibration of ranges
        **dict.fromkeys(
            quantization.CALIBRATIONS, lambda: quantization.write_int8_static(model, samples, scheme, path)
        ),
        "int8-qat": lambda: path.write_bytes(converter.convert(model, samples)),
    }
    if scheme not in writers:
        raise Unsupported(f"the onnx runtime has no scheme '{scheme}'")
    writers[scheme]()
    return ExportResult(notes=describe_wide_layers(quantization.count_layers(path), scheme))


def read_interface(path: Path) -> ModelInterface:
    """Read the inputs and outputs of an .onnx file. Raises ValueError for a size that is neither positive nor open."""
    from edgeproof.converters import onnx_files

    graph = onnx_files.read_structure(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    return ModelInterface(tuple(map(onnx_files.read_spec, inputs)), tuple(map(onnx_files.read_spec, graph.output)))


def adopt(path: Path, out_dir: Path, *, input_shapes: Sequence[Sequence[int]], output: int) -> ExportResult:
    """Copy an .onnx file. Fix its open sizes to `input_shapes`, and include weights that it keeps in other files.

    `input_shapes` include a batch of one. `output` is the index of the output to score, which is moved to the front.
    """
    import onnx

    from edgeproof.converters import onnx_files

    interface = read_interface(path)
    is_fixed = all(
        spec.shape is not None and None not in spec.shape for spec in (*interface.inputs, *interface.outputs)
    )
    has_external_weights = any(onnx_files.find_external_tensors(onnx_files.read_structure(path)))
    if is_fixed and output == 0 and not has_external_weights:
        shutil.copyfile(path, out_dir / FILE)
        return ExportResult()
    model = onnx_files.load(path)
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend([outputs.pop(output), *outputs])
    if not is_fixed:
        onnx_files.fix_shapes(model, interface.inputs, input_shapes)
    onnx.save(model, out_dir / FILE)
    return ExportResult()


def strip(source_dir: Path, target_dir: Path) -> None:
    """Write model.onnx without internal names and metadata: see edgeproof/converters/strip_onnx.py."""
    from edgeproof.converters import strip_onnx

    strip_onnx.strip(source_dir / FILE, target_dir / FILE)


class Session(InferenceSession):
    """Runs model.onnx with input and output buffers that are bound once.

    Inputs and outputs of types that no port has are converted in feed() and fetch(). Outputs that are not tensors of
    numbers are not fetched.
    """

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
        self._binding = self._session.io_binding()
        self._inputs = [
            np.zeros(model_input.shape, DTYPES[model_input.type]) for model_input in self._session.get_inputs()
        ]
        for model_input, buffer in zip(self._session.get_inputs(), self._inputs, strict=True):
            self._binding.bind_cpu_input(model_input.name, buffer)
        model_outputs = [model_output for model_output in self._session.get_outputs() if model_output.type in DTYPES]
        self._output_names = [model_output.name for model_output in model_outputs]
        self._output_dtypes = [choose_port_dtype(DTYPES[model_output.type]) for model_output in model_outputs]
        if all(isinstance(size, int) for model_output in model_outputs for size in model_output.shape):
            self._bind_outputs(model_outputs)
        else:
            self._let_engine_allocate()
        self._run = self._session.run_with_iobinding

    def _bind_outputs(self, model_outputs: Sequence[Any]) -> None:
        """Bind a buffer for each output, and a further one where its elements are converted."""
        raw_outputs = [np.zeros(model_output.shape, DTYPES[model_output.type]) for model_output in model_outputs]
        for name, raw in zip(self._output_names, raw_outputs, strict=True):
            self._binding.bind_output(name, "cpu", 0, raw.dtype, list(raw.shape), raw.ctypes.data)
        self._outputs = tuple(
            raw.astype(dtype, copy=False) for raw, dtype in zip(raw_outputs, self._output_dtypes, strict=True)
        )
        self._converted = [
            (output, raw) for output, raw in zip(self._outputs, raw_outputs, strict=True) if output is not raw
        ]

    def feed(self, *inputs: Array) -> None:
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer[...] = x
        if self.allocates_output:
            self._let_engine_allocate()

    def invoke(self) -> None:
        try:
            self._run(self._binding)
        except RuntimeError:
            if self.allocates_output:
                raise
            # The file may claim a fixed size of an output whose size depends on the data.
            self._let_engine_allocate()
            self._run(self._binding)

    def _let_engine_allocate(self) -> None:
        """Bind no memory. Else the engine would write into the outputs of the last inference, of other sizes."""
        self.allocates_output = True
        self._binding.clear_binding_outputs()
        for name in self._output_names:
            self._binding.bind_output(name, "cpu")

    def fetch(self) -> tuple[Array, ...]:
        if self.allocates_output:
            values = zip(self._binding.get_outputs(), self._output_dtypes, strict=True)
            return tuple(np.asarray(value.numpy(), dtype) for value, dtype in values)
        for output, raw in self._converted:
            output[...] = raw
        return self._outputs

    def fallbacks(self) -> list[str]:
        providers: list[str] = self._session.get_providers()
        return [] if providers[0] == PROVIDER else [f"ran on {providers[0]} instead of {PROVIDER}"]

    def end_profiling(self) -> Path:
        """Stop the profiler and return the path of the file that it wrote."""
        return Path(self._session.end_profiling())


def profile(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> Profile:
    """Measure the kernel time of each node with ONNX Runtime's profiler."""
    count, events_by_name = _record_events(artifact_dir, inputs, threads, PROFILED_INFERENCES)
    operators = [
        Operator(
            name=name,
            kind=node_events[0]["args"]["op_name"],
            where=node_events[0]["args"]["provider"],
            time_ns=1000 * _average_duration_us(node_events),
        )
        for name, node_events in events_by_name.items()
    ]
    return Profile("ONNX Runtime's profiler: mean of the middle half, from whole microseconds", count, operators)


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the nodes of the optimized graph with the provider and the element type of their kernels.

    If the file quantizes its activations, integer kernels are expected: for every node that computes if the ranges are
    fixed, and for the layers with weights if they are found in each inference.
    """
    _, events_by_name = _record_events(artifact_dir, inputs, threads, 1)
    nodes = {name: events[0]["args"] for name, events in events_by_name.items()}
    kinds = {node["op_name"] for node in nodes.values()}
    is_static = any(kind == "QuantizeLinear" or kind.startswith(("QLinear", "QGemm")) for kind in kinds)
    is_dynamic = any(kind.startswith(INTEGER_KERNELS) for kind in kinds)
    placed = []
    for name, node in nodes.items():
        kind, provider, element_type = node["op_name"], node["provider"], _read_input_type(node)
        is_float = element_type in ("float", "float16", "double") and not kind.startswith(INTEGER_KERNELS)
        expects_integers = kind not in MOVES if is_static else is_dynamic and kind in LAYERS
        reason = ""
        if provider != PROVIDER:
            reason = f"runs on {provider} instead of {PROVIDER}"
        elif is_float and expects_integers:
            reason = "ONNX Runtime has no integer kernel for it, or the quantizer left it in float"
        placed.append(PlacedOperator(name, kind, f"{provider}, {element_type}", reason))
    return placed


def _read_input_type(node: dict[str, Any]) -> str:
    """Return the element type of a node's first input, which decides its kernel."""
    types = [*node["input_type_shape"], *node["output_type_shape"]]
    return next(iter(types[0]), "unknown type") if types else "no type"


def _record_events(
    artifact_dir: Path, inputs: Sequence[Array], threads: int, max_calls: int
) -> tuple[int, dict[str, list[Any]]]:
    """Run inferences under the profiler; return their number and the events of each node by its name."""
    with tempfile.TemporaryDirectory() as scratch:
        session = Session(artifact_dir, threads=threads, profile=Path(scratch, "profile"))
        session(*inputs)
        count = call_repeatedly(lambda: session(*inputs), max_calls)
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    events_by_name: dict[str, list[Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX):
            events_by_name.setdefault(event["name"].removesuffix(KERNEL_SUFFIX), []).append(event)
    return count, events_by_name


def _average_duration_us(events: list[Any]) -> float:
    """Return the mean of the middle half of a node's durations, without the first one.

    Interruptions affect it as little as the median, and it is finer than the profiler's whole microseconds.
    """
    durations_us = sorted(float(event["dur"]) for event in events[1:] or events)
    quarter = len(durations_us) // 4
    middle = durations_us[quarter : len(durations_us) - quarter]
    return sum(middle) / len(middle)


def open_layers(artifact_dir: Path) -> LayerGraph:
    """Open an artifact on the host, to read its tensors and run its layers alone."""
    from edgeproof.converters.onnx_layers import OnnxLayers

    return OnnxLayers(artifact_dir / FILE)


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    import onnxruntime as ort

    return {"build": ort.get_build_info()}
