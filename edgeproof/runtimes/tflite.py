"""LiteRT (TensorFlow Lite): export to TFLite, and an interpreter whose tensors are kept as views."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.core.profiles import Profile
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.tflite"
ADOPTS = (".tflite",)
DELEGATE = "DELEGATE"  # the type of the operator that stands for all that a delegate runs
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


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to TFLite and quantize it with AI Edge Quantizer: see edgeproof/converters/tflite.py.

    `samples` (N, *input_shape) float32 calibrate the static schemes. Raises Unsupported for a scheme that these tools
    do not have.
    """
    from edgeproof.converters import tflite as converter
    from edgeproof.models import qat

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    module = qat.select_for_export(model, "tflite", scheme)
    path = out_dir / FILE
    if scheme == qat.SCHEME:
        path.write_bytes(converter.convert_integers(module, samples))
        return ExportResult(notes=converter.describe_float_layers(path))
    if scheme == "fp32":
        path.write_bytes(converter.convert_fp32(module, samples))
        return ExportResult()
    recipe = converter.build_recipe(scheme)
    path.write_bytes(converter.convert_fp32(module, samples))
    averages_ranges = scheme != "int8-static-minmax"
    path.write_bytes(converter.quantize(path, recipe, samples, averages_ranges=averages_ranges))
    return ExportResult(notes=(*REMARKS.get(scheme, ()), *converter.describe_float_layers(path)))


def export_keras(
    model: Callable[[Any], Any], variables: Sequence[Any], samples: Array, scheme: str, out_dir: Path
) -> ExportResult:
    """Convert a TensorFlow function with TensorFlow's own converter: see edgeproof/converters/tensorflow.py.

    `model` maps a tensor to a tensor and reads `variables`; `samples` (N, *input_shape) have the input's element type.
    Raises Unsupported for a scheme or a network that the converter does not support.
    """
    from edgeproof.converters import tensorflow, tflite

    path = out_dir / FILE
    path.write_bytes(tensorflow.convert(model, variables, samples, scheme))
    return ExportResult(notes=() if scheme in ("fp32", "fp16") else tflite.describe_float_layers(path))


def read_interface(path: Path) -> ModelInterface:
    """Read the inputs and outputs of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return ModelInterface(tuple(map(_read_spec, inputs)), tuple(map(_read_spec, outputs)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> ExportResult:
    """Copy a .tflite file. Its input is resized to `input_shape`, which includes a batch of one, where it is open.

    `output` is the index of the output to measure. It is moved to the front; the others are still computed.
    Raises ConfigError if the file cannot be resized.
    """
    shutil.copyfile(path, out_dir / FILE)
    resizes = _read_input_shape(path) != list(input_shape)
    if output == 0 and not resizes:
        return ExportResult()
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    order = list(graph.outputs)
    graph.outputs = [order.pop(output), *order]
    if resizes:
        graph.tensors[graph.inputs[0]].shape = list(input_shape)
    flatbuffer_utils.write_model(model, str(out_dir / FILE))
    if resizes:
        _check_allocatable(out_dir / FILE, path, input_shape)
    return ExportResult()


class Session(InferenceSession):
    """Runs model.tflite. Integer inputs and outputs are (de)quantized in feed() and fetch(), as an application must."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        self._path, self._threads = artifact_dir / FILE, threads
        self._load()
        model_input = self._interpreter.get_input_details()[0]
        model_output = self._interpreter.get_output_details()[0]
        self._quantizes, self._dequantizes = _is_quantized(model_input), _is_quantized(model_output)
        # Arrays without axes: a ufunc takes these faster than numbers, which it would convert in each call.
        self._in_scale, self._in_zero = (np.array(part, np.float32) for part in model_input["quantization"])
        self._out_scale, self._out_zero = (np.array(part, np.float32) for part in model_output["quantization"])
        self._min, self._max = (np.array(limit, np.float32) for limit in _get_integer_range(model_input["dtype"]))
        self._scratch = np.zeros(model_input["shape"], np.float32)
        self.allocates_output = not _is_allocated(self._output_view)
        self._output = np.zeros(model_output["shape"], np.float32)

    def _load(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(self._path), num_threads=self._threads)
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._invoke = interpreter.invoke
        # tensor() returns a function that makes a view of the interpreter's memory. invoke() fails while a view exists.
        self._input_view = interpreter.tensor(interpreter.get_input_details()[0]["index"])
        self._output_view = interpreter.tensor(interpreter.get_output_details()[0]["index"])

    def feed(self, x: Array) -> None:
        if not self._quantizes:
            self._input_view()[...] = x
            return
        scratch = self._scratch
        np.divide(x, self._in_scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, self._in_zero, out=scratch)
        scratch.clip(self._min, self._max, out=scratch)  # np.clip() would take twice as long
        self._input_view()[...] = scratch

    def invoke(self) -> None:
        self._invoke()

    def fetch(self) -> Array:
        view = self._read_allocated_output() if self.allocates_output else self._output_view()
        if not self._dequantizes:
            self._output[...] = view
            return self._output
        np.subtract(view, self._out_zero, out=self._output)
        np.multiply(self._output, self._out_scale, out=self._output)
        return self._output

    def _read_allocated_output(self) -> Array:
        """Return a view of an output that the engine has allocated, and fit the buffer to its shape."""
        try:
            view: Array = self._output_view()
        except ValueError:  # the interpreter makes no view of an empty tensor
            view = np.zeros(self._interpreter.get_output_details()[0]["shape"], np.float32)
        if view.shape != self._output.shape:
            self._output = np.zeros(view.shape, np.float32)
        return view

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


def profile(artifact_dir: Path, x: Array, *, threads: int) -> Profile:
    """Raise Unsupported: the engine has a profiler, but its Python interpreter does not offer it."""
    raise Unsupported("LiteRT's Python interpreter gives no way to the engine's profiler; its C++ benchmark_model does")


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


def _get_integer_range(dtype: Any) -> tuple[int, int]:
    """Return the smallest and the largest integer of a type, (0, 0) for a type of floats."""
    if not np.issubdtype(dtype, np.integer):
        return 0, 0
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _read_input_shape(path: Path) -> list[int]:
    """Read the input shape that a file's memory is planned for. Open sizes are 1."""
    from ai_edge_litert.interpreter import Interpreter

    return [int(size) for size in Interpreter(str(path)).get_input_details()[0]["shape"]]


def _check_allocatable(resized: Path, path: Path, input_shape: Sequence[int]) -> None:
    """Raise ConfigError if an operator of a resized file was built for another shape."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(str(resized)).allocate_tensors()
    except RuntimeError as error:
        raise ConfigError(
            f"{path} leaves sizes of its input open, but an operator in it fits {_read_input_shape(path)} alone, not "
            f"{list(input_shape)} ({str(error).splitlines()[0]}). Convert the model again for that shape."
        ) from None
