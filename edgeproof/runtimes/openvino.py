"""OpenVINO: export to OpenVINO IR, and a session whose tensors are set once."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.errors import Unsupported
from edgeproof.core.layer_graphs import LayerGraph
from edgeproof.core.placements import PlacedOperator
from edgeproof.core.profiles import Operator, Profile, call_repeatedly
from edgeproof.core.sessions import InferenceSession, choose_port_dtype

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.xml"
ADOPTS = (".xml", ".onnx")
# OpenVINO's names of the element types that numpy has.
NUMPY_TYPES = ("f16", "f32", "f64", "boolean", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
# Types of executed nodes: with weights or windows, and those that convert numbers or move them and compute nothing.
LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "Pooling")
MOVES = (
    *("Reorder", "Convert", "FakeQuantize", "Reshape", "Transpose", "Concatenation", "Split", "StridedSlice", "Gather"),
    *("Broadcast", "Pad", "ShapeOf", "Tile"),
)
WARM_UP_INFERENCES, PROFILED_INFERENCES = 10, 200  # of a profile
UNSUPPORTED_SCHEMES = {
    "int8-dynamic": (
        "OpenVINO's files can't ask for activations that are quantized at run time: its CPU plugin decides that, "
        "and never for convolutions. Use int8-weights"
    ),
    "int8-static-entropy": "NNCF estimates ranges by extremes, quantiles or squared error, not by entropy",
    "int4-static": "NNCF has 4-bit weights only together with fp32 activations, as in int4-weights",
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to OpenVINO IR and quantize it with NNCF: see edgeproof/converters/openvino.py.

    `samples` have an array (N, *shape) for each input and calibrate the static schemes. Raises Unsupported for a scheme
    or a network that OpenVINO does not support.
    """
    from edgeproof.converters import openvino as converter
    from edgeproof.converters.wide_layers import describe_wide_layers

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    transforms: dict[str, Callable[[Any], Any]] = {
        "fp32": lambda converted: converted,
        "fp16": lambda converted: converted,  # save() rounds the weights
        "bf16": converter.round_to_bf16,
        "int8-weights": lambda converted: converter.compress_weights(converted, 8),
        "int4-weights": lambda converted: converter.compress_weights(converted, 4),
        "int8-static": lambda converted: converter.quantize(converted, samples),
        "int8-static-minmax": lambda converted: converter.quantize(converted, samples, ranges="MINMAX"),
        "int8-static-percentile": lambda converted: converter.quantize(converted, samples, ranges="MEAN_QUANTILE"),
        "int8-static-mse": lambda converted: converter.quantize(converted, samples, ranges="HISTOGRAM"),
        "int8-static-tensor": lambda converted: converter.quantize(converted, samples, per_channel=False),
        "int8-qat": lambda converted: converted,  # already in integers
    }
    if scheme not in transforms:
        raise Unsupported(f"the openvino runtime has no scheme '{scheme}'")
    transformed = transforms[scheme](converter.convert(model, samples))
    converter.save(transformed, out_dir / FILE, compress_to_fp16=scheme == "fp16")
    if scheme == "int8-qat":
        converter.check_loadable(out_dir / FILE)
    return ExportResult(notes=describe_wide_layers(converter.count_layers(transformed), scheme))


def read_interface(path: Path) -> ModelInterface:
    """Read the inputs and outputs of an .xml or .onnx file. Raises ConfigError if the .bin of an .xml is missing."""
    with _open(path) as model:
        return ModelInterface(tuple(map(_read_spec, model.inputs)), tuple(map(_read_spec, model.outputs)))


def adopt(path: Path, out_dir: Path, *, input_shapes: Sequence[Sequence[int]], output: int) -> ExportResult:
    """Copy an OpenVINO file, or convert an .onnx file. Fix open sizes to `input_shapes`, which include a batch of one.

    `output` is the index of the output to score, which is moved to the front.
    """
    import openvino as ov

    from edgeproof.converters import openvino as converter
    from edgeproof.converters.model_files import find_sibling

    with _open(path) as model:
        if not _is_onnx(path) and output == 0 and not model.is_dynamic():
            shutil.copyfile(path, out_dir / FILE)
            shutil.copyfile(find_sibling(path, ".bin"), (out_dir / FILE).with_suffix(".bin"))
            return ExportResult()
        results = list(model.get_results())
        results.insert(0, results.pop(output))
        model = ov.Model(results, model.get_sinks(), model.get_parameters(), "model")
        model.reshape({index: list(shape) for index, shape in enumerate(input_shapes)})
        converter.save(model, out_dir / FILE)
    return ExportResult(("converted from ONNX",) if _is_onnx(path) else ())


def strip(source_dir: Path, target_dir: Path) -> None:
    """Write model.xml without the names of layers, and its .bin: see edgeproof/converters/strip_openvino.py."""
    from edgeproof.converters import strip_openvino

    strip_openvino.strip(source_dir / FILE, target_dir / FILE)


class Session(InferenceSession):
    """Runs model.xml with input tensors that share memory and are set once.

    Inputs and outputs of types that no port has are converted in feed() and fetch(). Outputs of types that numpy lacks
    are not fetched.
    Raises Unsupported for a bf16 model on a processor without bfloat16 arithmetic.
    """

    def __init__(self, artifact_dir: Path, *, threads: int, profile: bool = False) -> None:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(artifact_dir / FILE)
        precision = "bf16" if _holds_bf16(model) else "f32"
        # By default the CPU plugin computes fp32 models in bfloat16 if the processor supports it, and quantizes the
        # inputs of fully connected layers with compressed weights. Both would change the accuracy.
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile,
        }
        if _chains_quantized_layers(model):
            # The plugin fuses small fully connected layers in integers to one kernel, which computes other numbers than
            # the layers by themselves, or ends the process with a segmentation fault.
            options["SNIPPETS_MODE"] = "DISABLE"
        compiled = core.compile_model(model, "CPU", options)
        if precision == "bf16":
            _check_computes_bf16(core, compiled)
        request = compiled.create_infer_request()
        self._inputs = [np.zeros(list(port.shape), port.element_type.to_dtype()) for port in compiled.inputs]
        for index, buffer in enumerate(self._inputs):
            request.set_input_tensor(index, ov.Tensor(buffer, shared_memory=True))
        self._bind_outputs(request, compiled.outputs)
        # The call of the C++ binding, without its Python wrapper, which would add 3 µs.
        self._infer = super(type(request), request).infer  # type: ignore[misc]
        self._query_state, self._reset_state = request.query_state, request.reset_state
        self._compiled = compiled
        self.get_counters = request.get_profiling_info

    def _bind_outputs(self, request: Any, ports: Sequence[Any]) -> None:
        """Keep a view of each output of numbers, and a buffer where its elements are converted."""
        self._get_output_tensor = request.get_output_tensor
        known = [(index, port) for index, port in enumerate(ports) if port.element_type.get_type_name() in NUMPY_TYPES]
        self._output_indices = [index for index, _ in known]
        self._output_dtypes = [choose_port_dtype(np.dtype(port.element_type.to_dtype()).name) for _, port in known]
        self.allocates_output = any(port.partial_shape.is_dynamic for _, port in known)
        raw_outputs = [request.get_output_tensor(index).data for index in self._output_indices]
        self._outputs = tuple(
            raw.astype(dtype, copy=False) for raw, dtype in zip(raw_outputs, self._output_dtypes, strict=True)
        )
        self._converted = [
            (output, raw) for output, raw in zip(self._outputs, raw_outputs, strict=True) if output is not raw
        ]

    def feed(self, *inputs: Array) -> None:
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer[...] = x

    def invoke(self) -> None:
        self._infer({}, True, False)  # no inputs to copy, outputs are shared, no strings to decode

    def fetch(self) -> tuple[Array, ...]:
        if self.allocates_output:  # the engine has allocated other tensors
            outputs = zip(self._output_indices, self._output_dtypes, strict=True)
            return tuple(np.array(self._get_output_tensor(index).data, dtype) for index, dtype in outputs)
        for output, raw in self._converted:
            output[...] = raw
        return self._outputs

    def list_states(self) -> list[str]:
        """List the model's variables, which hold a state such as that of an LSTM."""
        return [f"variable {state.name}" for state in self._query_state()]

    def reset_state(self) -> None:
        """Set all variables to their initial values."""
        self._reset_state()

    def fallbacks(self) -> list[str]:
        """List the nodes that the CPU plugin runs with its slow reference kernels."""
        kinds = [node.get_rt_info()["layerType"].astype(str) for node in self._compiled.get_runtime_model().get_ops()]
        return [f"{count} × {kind}" for kind, count in Counter(kinds).items() if kind == "Reference"]

    def get_executed_graph(self) -> Any:
        """Return the graph that the CPU plugin runs, whose nodes name their kernel and its precision."""
        return self._compiled.get_runtime_model()


def profile(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> Profile:
    """Measure the time of each executed node with OpenVINO's performance counters.

    A counter is the mean over all inferences so far. The means before and after the profiled inferences give the mean
    of these alone, without the first inferences, which compile kernels and take longer than all others together.
    """
    session = Session(artifact_dir, threads=threads, profile=True)
    warm_up_count = call_repeatedly(lambda: session(*inputs), WARM_UP_INFERENCES)
    warm_up_means_us = [_to_microseconds(counter) for counter in session.get_counters()]
    count = call_repeatedly(lambda: session(*inputs), PROFILED_INFERENCES)
    operators = []
    for counter, warm_up_mean_us in zip(session.get_counters(), warm_up_means_us, strict=True):
        if counter.status == counter.Status.EXECUTED:
            total_us = (warm_up_count + count) * _to_microseconds(counter)
            time_us = (total_us - warm_up_count * warm_up_mean_us) / count
            operators.append(
                Operator(counter.node_name, counter.node_type, counter.exec_type, 1000 * max(0.0, time_us))
            )
    return Profile("OpenVINO's performance counters: mean, from whole microseconds", count, operators)


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the nodes that the CPU plugin runs, with their kernels. If the file quantizes, integers are expected."""
    import openvino as ov

    session = Session(artifact_dir, threads=threads)
    session(*inputs)
    operations = {
        operation.get_friendly_name(): operation
        for operation in ov.Core().read_model(artifact_dir / FILE).get_ordered_ops()
    }
    quantizers = {name for name, operation in operations.items() if operation.get_type_name() == "FakeQuantize"}
    quantized = {name for name, operation in operations.items() if _reads_any(operation, quantizers)}
    placed: list[PlacedOperator] = []
    constants: set[str] = set()
    for node in session.get_executed_graph().get_ordered_ops():
        facts = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        kind, sources = facts["layerType"], [value.get_node().get_friendly_name() for value in node.input_values()]
        if kind == "Const" or (sources and constants.issuperset(sources)):
            constants.add(node.get_friendly_name())
        elif kind not in ("Input", "Output"):
            originals = set(facts.get("originalLayersNames", "").split(","))
            expects_integers = bool(quantizers) and kind not in MOVES and not originals <= quantizers
            reason = _explain_kernel(facts, expects_integers, bool(originals & quantized))
            placed.append(PlacedOperator(node.get_friendly_name(), kind, facts["primitiveType"], reason))
    return placed


def _reads_any(operation: Any, names: set[str]) -> bool:
    return any(value.get_node().get_friendly_name() in names for value in operation.input_values())


def _explain_kernel(facts: dict[str, str], expects_integers: bool, is_quantized: bool) -> str:
    """Return why an executed node does not run on the expected kernel, or '' if it does."""
    kind, precision = facts["layerType"], facts["runtimePrecision"]
    if kind == "Reference" or (kind in LAYERS and facts["primitiveType"].startswith("ref")):
        return "the CPU plugin has only a slow reference kernel for it"
    if not expects_integers or precision in ("i8", "u8", "i4", "u4"):
        return ""
    if is_quantized:
        return f"quantized in the file, but the CPU plugin computes it in {precision}"
    return f"left in float by the quantizer: computed in {precision}"


def _to_microseconds(counter: Any) -> float:
    return float(counter.real_time.total_seconds() * 1e6)


def open_layers(artifact_dir: Path) -> LayerGraph:
    """Open an artifact on the host, to read its tensors and run its layers alone."""
    from edgeproof.converters.openvino_layers import OpenVinoLayers

    return OpenVinoLayers(artifact_dir / FILE)


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    import openvino as ov

    return {"build": ov.get_version()}


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Yield the model in an .xml or .onnx file. Its weights may be read from the file until the end of the block."""
    import openvino as ov

    from edgeproof.converters import onnx_files
    from edgeproof.converters.model_files import find_sibling

    if not _is_onnx(path):
        yield ov.Core().read_model(path, find_sibling(path, ".bin"))
        return
    for value in onnx_files.read_structure(path).graph.input:
        onnx_files.read_spec(value)
    with onnx_files.resolve_links(path) as plain:
        yield ov.Core().read_model(plain)


def _read_spec(port: Any) -> TensorSpec:
    sizes = None if port.partial_shape.rank.is_dynamic else list(port.partial_shape)
    return TensorSpec(
        name=port.any_name if port.names else port.get_node().get_friendly_name(),
        shape=None
        if sizes is None
        else tuple(None if size.is_dynamic else size.get_length() or None for size in sizes),
        dtype=_name_dtype(port.element_type),
    )


def _name_dtype(element_type: Any) -> str:
    """Return numpy's name of an element type, or OpenVINO's own if numpy has no such type, as of bf16."""
    name: str = element_type.get_type_name()
    return np.dtype(element_type.to_dtype()).name if name in NUMPY_TYPES else name


def _holds_bf16(model: Any) -> bool:
    constants = (operation for operation in model.get_ops() if operation.get_type_name() == "Constant")
    return any(constant.get_output_element_type(0).get_type_name() == "bf16" for constant in constants)


def _chains_quantized_layers(model: Any) -> bool:
    """Return True if the quantized output of a fully connected layer, clipped or not, is the input of another one."""
    for operation in model.get_ops():
        source = operation.input_value(0).get_node() if operation.get_type_name() == "MatMul" else operation
        if source.get_type_name() != "FakeQuantize" or source is operation:
            continue
        while source.get_type_name() in ("FakeQuantize", "Relu", "Clamp", "Add", "Multiply"):
            source = source.input_value(0).get_node()
        if source.get_type_name() == "MatMul":
            return True
    return False


def _check_computes_bf16(core: Any, compiled: Any) -> None:
    """Raise Unsupported if the plugin would emulate bfloat16 or compute in another precision on this processor."""
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != "bf16" or "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        name = core.get_property("CPU", "FULL_DEVICE_NAME")
        raise Unsupported(f"this processor ({name}) has no bfloat16 arithmetic that OpenVINO uses")
