"""LiteRT (TensorFlow Lite): export to TFLite, and an interpreter whose tensors are kept as views."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.delegates import ListedOperator, list_run_operators
from edgeproof.core.errors import ConfigError, Unsupported, summarize_error
from edgeproof.core.layer_graphs import LayerGraph
from edgeproof.core.placements import PlacedOperator, explain_floats
from edgeproof.core.profiles import Profile
from edgeproof.core.sessions import InferenceSession, choose_port_dtype

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.tflite"
ADOPTS = (".tflite",)
DELEGATE = "DELEGATE"  # the type of the operator that stands for all that a delegate runs
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
OWN_KERNEL = "LiteRT's own kernel"
NOT_DELEGATED = "the XNNPACK delegate does not take it with these types and options"
# Operators with a state that reset_all_variables() leaves as it is: resource variables and random generators.
STATEFUL_OPERATORS = ("ASSIGN_VARIABLE", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL")
_EXTREMES = "AI Edge Quantizer knows no more of a sample's activations than their minimum and maximum"
UNSUPPORTED_SCHEMES = {
    "bf16": "LiteRT's converter takes no bfloat16 weights, and AI Edge Quantizer casts floats only to float16",
    "int8-static-percentile": _EXTREMES,
    "int8-static-entropy": _EXTREMES,
}
REMARKS = {
    "int8-static-mse": ("weights clipped for the least squared error, activations calibrated as in int8-static",)
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to TFLite and quantize it with AI Edge Quantizer: see edgeproof/converters/tflite.py.

    `samples` have an array (N, *shape) for each input and calibrate the static schemes. Raises Unsupported for a scheme
    that these tools do not have.
    """
    from edgeproof.converters import tflite as converter
    from edgeproof.converters.wide_layers import describe_wide_layers

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    path = out_dir / FILE
    if scheme == "int8-qat":
        path.write_bytes(converter.convert_integers(model, samples))
        return ExportResult(notes=describe_wide_layers(converter.count_layers(path), scheme))
    if scheme == "fp32":
        path.write_bytes(converter.convert_fp32(model, samples))
        return ExportResult()
    recipe = converter.build_recipe(scheme)
    path.write_bytes(converter.convert_fp32(model, samples))
    averages_ranges = scheme not in converter.MINMAX_SCHEMES
    path.write_bytes(converter.quantize(path, recipe, samples, averages_ranges=averages_ranges))
    return ExportResult(notes=(*REMARKS.get(scheme, ()), *describe_wide_layers(converter.count_layers(path), scheme)))


def export_keras(
    model: Callable[..., Any], variables: Sequence[Any], samples: tuple[Array, ...], scheme: str, out_dir: Path
) -> ExportResult:
    """Convert a TensorFlow function with TensorFlow's own converter: see edgeproof/converters/tensorflow.py.

    `model` maps tensors to a tensor or a list of tensors and reads `variables`; `samples` have an array (N, *shape) of
    the element type of each input. Raises Unsupported for a scheme or a network that the converter does not support.
    """
    from edgeproof.converters import tensorflow, tflite
    from edgeproof.converters.wide_layers import describe_wide_layers

    path = out_dir / FILE
    path.write_bytes(tensorflow.convert(model, variables, samples, scheme))
    tflite.order_ports(path)
    return ExportResult(notes=describe_wide_layers(tflite.count_layers(path), scheme))


def read_interface(path: Path) -> ModelInterface:
    """Read the inputs and outputs of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return ModelInterface(tuple(map(_read_spec, inputs)), tuple(map(_read_spec, outputs)))


def adopt(path: Path, out_dir: Path, *, input_shapes: Sequence[Sequence[int]], output: int) -> ExportResult:
    """Copy a .tflite file. Its inputs are resized to `input_shapes`, which include a batch of one, where they are open.

    `output` is the index of the output to score, which is moved to the front. Raises ConfigError if the file cannot be
    resized.
    """
    shutil.copyfile(path, out_dir / FILE)
    shapes = [list(shape) for shape in input_shapes]
    resizes = _read_input_shapes(path) != shapes
    if output == 0 and not resizes:
        return ExportResult()
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    order = list(graph.outputs)
    graph.outputs = [order.pop(output), *order]
    if resizes:
        for index, shape in zip(graph.inputs, shapes, strict=True):
            graph.tensors[index].shape = shape
    flatbuffer_utils.write_model(model, str(out_dir / FILE))
    if resizes:
        _check_allocatable(out_dir / FILE, path, shapes)
    return ExportResult()


def strip(source_dir: Path, target_dir: Path) -> None:
    """Write model.tflite without internal names and metadata: see edgeproof/converters/strip_tflite.py."""
    from edgeproof.converters import strip_tflite

    strip_tflite.strip(source_dir / FILE, target_dir / FILE)


class Session(InferenceSession):
    """Runs model.tflite. Quantized inputs and outputs are converted in feed() and fetch(), as an application must."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        self._path, self._threads = artifact_dir / FILE, threads
        self._load()

    def _load(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(self._path), num_threads=self._threads)
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._invoke = interpreter.invoke
        # tensor() returns a function that makes a view of the interpreter's memory. invoke() fails while a view exists.
        self._writers = [
            _build_writer(interpreter.tensor(details["index"]), details) for details in interpreter.get_input_details()
        ]
        self._readers = [
            _OutputReader(interpreter, index)
            for index, details in enumerate(interpreter.get_output_details())
            if np.dtype(details["dtype"]).kind in "fiub"  # numbers, and not text
        ]
        self._outputs = tuple(reader.buffer for reader in self._readers)
        self.allocates_output = any(reader.is_allocated_late for reader in self._readers)

    def feed(self, *inputs: Array) -> None:
        for write, x in zip(self._writers, inputs, strict=True):
            write(x)

    def invoke(self) -> None:
        self._invoke()

    def fetch(self) -> tuple[Array, ...]:
        for reader in self._readers:
            reader.read()
        if self.allocates_output:
            self._fit_outputs()
        return self._outputs

    def _fit_outputs(self) -> None:
        """Replace the outputs if an output got another size, and with it another buffer."""
        if any(reader.buffer is not output for reader, output in zip(self._readers, self._outputs, strict=True)):
            self._outputs = tuple(reader.buffer for reader in self._readers)

    def list_states(self) -> list[str]:
        """List variable tensors, as of an LSTM, and the operators that keep variables or a random generator."""
        variables, operators = self._states
        lines = [f"{variables} variable tensor{'s' if variables > 1 else ''}"] if variables else []
        return lines + [f"operator {name}" for name in operators]

    def reset_state(self) -> None:
        """Clear the variable tensors. For other state the file is loaded again, as nothing else clears it."""
        if self._states[1]:
            self._load()
        else:
            self._interpreter.reset_all_variables()

    @functools.cached_property
    def _states(self) -> tuple[int, list[str]]:
        return _find_states(self._path)

    def fallbacks(self) -> list[str]:
        """Report a model that runs entirely on TensorFlow Lite's own kernels, which are slower than the delegate's."""
        # No public function tells whether a delegate runs.
        has_delegate = any(operator["op_name"] == DELEGATE for operator in self._interpreter._get_ops_details())
        return [] if has_delegate else ["the XNNPACK delegate took no operator"]


class _OutputReader:
    """Copies one output from the interpreter's memory into `buffer`, which is dequantized if the file is quantized.

    `is_allocated_late` is True if the output has no memory before the first inference, because its size is computed.
    """

    def __init__(self, interpreter: Any, index: int) -> None:
        self._interpreter, self._index = interpreter, index
        details = interpreter.get_output_details()[index]
        self._view = interpreter.tensor(details["index"])
        self._dequantizes = _is_quantized(details)
        # Arrays without axes: a ufunc takes these faster than numbers, which it would convert in each call.
        self._scale, self._zero = (np.array(part, np.float32) for part in details["quantization"])
        self._dtype = "float32" if self._dequantizes else choose_port_dtype(np.dtype(details["dtype"]).name)
        self.is_allocated_late = not _is_allocated(self._view)
        self.buffer: Array = np.zeros(details["shape"], self._dtype)

    def read(self) -> None:
        view = self._read_late_output() if self.is_allocated_late else self._view()
        if not self._dequantizes:
            self.buffer[...] = view
            return
        np.subtract(view, self._zero, out=self.buffer)
        np.multiply(self.buffer, self._scale, out=self.buffer)

    def _read_late_output(self) -> Array:
        """Return a view of an output that the engine has allocated, and fit the buffer to its shape."""
        try:
            view: Array = self._view()
        except ValueError:  # the interpreter makes no view of an empty tensor
            view = np.zeros(self._interpreter.get_output_details()[self._index]["shape"], self._dtype)
        if view.shape != self.buffer.shape:
            self.buffer = np.zeros(view.shape, self._dtype)
        return view


def _build_writer(view: Callable[[], Array], details: dict[str, Any]) -> Callable[[Array], None]:
    """Return a function that copies an array into the memory of an input, quantized if the file is quantized."""

    def copy(x: Array) -> None:
        view()[...] = x

    if not _is_quantized(details):
        return copy
    scale, zero = (np.array(part, np.float32) for part in details["quantization"])
    limits = np.iinfo(details["dtype"])
    lowest, highest = np.array(limits.min, np.float32), np.array(limits.max, np.float32)
    scratch = np.zeros(details["shape"], np.float32)

    def quantize(x: Array) -> None:
        np.divide(x, scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, zero, out=scratch)
        scratch.clip(lowest, highest, out=scratch)  # np.clip() would take twice as long
        view()[...] = scratch

    return quantize


def profile(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> Profile:
    """Raise Unsupported: the engine has a profiler, but its Python interpreter does not offer it."""
    raise Unsupported("LiteRT's Python interpreter gives no way to the engine's profiler; its C++ benchmark_model does")


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the operators with the delegate or kernel that runs them. XNNPACK is expected to run them all.

    The interpreter lists the operators of the file and, after them, one node for each part that a delegate runs.
    """
    interpreter = Session(artifact_dir, threads=threads)._interpreter
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    details = interpreter._get_ops_details()
    listed = [ListedOperator(o["op_name"], list(o["inputs"]), list(o["outputs"])) for o in details]
    graph_inputs = [tensor["index"] for tensor in interpreter.get_input_details()]
    placed = []
    for operator in list_run_operators(listed, DELEGATE, graph_inputs):
        dtype = np.dtype(tensors[operator.source]["dtype"]).name
        unit, reason = ("XNNPACK", "") if operator.is_delegated else (OWN_KERNEL, NOT_DELEGATED)
        name = tensors[operator.target]["name"]
        placed.append(PlacedOperator(name, operator.kind, f"{unit}, {dtype}", reason))
    return explain_floats(placed, CONVERSIONS)


def open_layers(artifact_dir: Path) -> LayerGraph:
    """Open an artifact on the host, to read its tensors and run its layers alone."""
    from edgeproof.converters.tflite_layers import TfliteLayers

    return TfliteLayers(artifact_dir / FILE)


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    import ai_edge_litert

    return {"build": getattr(ai_edge_litert, "__version__", "unknown")}


def _read_spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero = details["quantization"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(size) if size > 0 else None for size in details["shape_signature"]),
        dtype=np.dtype(details["dtype"]).name,
        quantization=(float(scale), int(zero)) if _is_quantized(details) else None,
    )


def _is_quantized(details: dict[str, Any]) -> bool:
    """Return True if the integers of a tensor stand for other numbers. An index or a token stands for itself."""
    return np.issubdtype(details["dtype"], np.integer) and details["quantization"][0] != 0


def _is_allocated(view: Callable[[], Array]) -> bool:
    """Return True if a tensor has memory before the first inference. One whose size is computed has none."""
    try:
        view()
    except ValueError:
        return False
    return True


def _find_states(path: Path) -> tuple[int, list[str]]:
    """Return the number of a file's variable tensors, and the names of its other operators that keep a state."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    variables = sum(graph.Tensors(index).IsVariable() for graph in graphs for index in range(graph.TensorsLength()))
    codes = {model.OperatorCodes(index).BuiltinCode() for index in range(model.OperatorCodesLength())}
    return variables, [name for name in STATEFUL_OPERATORS if getattr(schema.BuiltinOperator, name) in codes]


def _read_input_shapes(path: Path) -> list[list[int]]:
    """Read the input shapes that a file's memory is planned for. Open sizes are 1."""
    from ai_edge_litert.interpreter import Interpreter

    return [[int(size) for size in details["shape"]] for details in Interpreter(str(path)).get_input_details()]


def _check_allocatable(resized: Path, path: Path, shapes: list[list[int]]) -> None:
    """Raise ConfigError if an operator of a resized file was built for another shape."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(str(resized)).allocate_tensors()
    except RuntimeError as error:
        planned = " and ".join(map(str, _read_input_shapes(path)))
        raise ConfigError(
            f"{path} leaves sizes of its input open, but an operator in it fits {planned} alone, not "
            f"{' and '.join(map(str, shapes))} ({summarize_error(error)}). Convert the model again for that shape."
        ) from None
