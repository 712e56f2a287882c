"""LiteRT for Microcontrollers (TFLM): the kernels of microcontrollers on this machine, for their answers and memory.

Its inputs are LiteRT's files. Its time on this machine says nothing about a microcontroller, so it is treated like the
time of an emulator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult, ModelInterface
from edgeproof.core.captured_output import capture_output
from edgeproof.core.errors import Unsupported
from edgeproof.core.placements import PlacedOperator, explain_floats
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

    from edgeproof.core.layer_graphs import LayerGraph

Array = np.ndarray[Any, Any]

EXTRA = "tflm"
TIMED = False  # its durations are recorded as those of an emulated device
FILE = "model.tflite"
ADOPTS = (".tflite",)
# The interpreter needs an arena before it can tell how much of it a model uses.
MIN_ARENA_BYTES, MAX_ARENA_BYTES = 2**20, 2**28
ARENA_LINE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
PART_LINE = re.compile(r"\] '(.+?)' used (\d+) bytes")
ARENA_FULL = re.compile(r"(?i)arena|failed to allocate|failed to resize|requested \d+")
MISSING_OPERATOR = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
NARROW = ("CONV_2D",)  # the operators that have kernels for 4-bit weights and 8-bit activations
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
_NO_HYBRID_KERNELS = "LiteRT for Microcontrollers has no kernels for integer weights with fp32 activations"
_EXTREMES = "AI Edge Quantizer, whose files are read, knows only the extremes of a sample's activations"
UNSUPPORTED_SCHEMES = {
    "fp16": "LiteRT for Microcontrollers has no kernels for fp16 weights",
    "bf16": "LiteRT for Microcontrollers has no kernels for bfloat16",
    "int8-weights": _NO_HYBRID_KERNELS,
    "int4-weights": _NO_HYBRID_KERNELS,
    "int8-dynamic": _NO_HYBRID_KERNELS,
    "int8-static-percentile": _EXTREMES,
    "int8-static-entropy": _EXTREMES,
    "int8-static-mse": "edgeproof exports for LiteRT for Microcontrollers as int8-static and int8-static-minmax only",
    "int8-static-tensor": "edgeproof exports for LiteRT for Microcontrollers with one scale per output channel only",
    "int8-qat": "a model that was trained for LiteRT is exported for the runtime tflite only",
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module as for LiteRT: see edgeproof/converters/tflite.py. Then load the file once.

    `samples` have an array (N, *shape) for each input and calibrate the static schemes. Raises Unsupported for a scheme
    or an operator that LiteRT for Microcontrollers does not have.
    """
    from edgeproof.converters import tflite as converter
    from edgeproof.converters.wide_layers import describe_wide_layers

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    if scheme not in ("fp32", "int8-static", "int8-static-minmax", "int4-static"):
        raise Unsupported(f"the tflm runtime has no scheme '{scheme}'")
    path = out_dir / FILE
    path.write_bytes(converter.convert_fp32(model, samples))
    if scheme != "fp32":
        averages_ranges = scheme not in converter.MINMAX_SCHEMES
        recipe = converter.build_recipe(scheme, narrow=NARROW)
        path.write_bytes(converter.quantize(path, recipe, samples, averages_ranges=averages_ranges))
    Session(out_dir, threads=1)
    return ExportResult(notes=describe_wide_layers(converter.count_layers(path), scheme))


def read_interface(path: Path) -> ModelInterface:
    """Read the inputs and outputs of a .tflite file with LiteRT."""
    interface: ModelInterface = plugins.load("runtimes", "tflite").read_interface(path)
    return interface


def adopt(path: Path, out_dir: Path, *, input_shapes: Sequence[Sequence[int]], output: int) -> ExportResult:
    """Copy a .tflite file as LiteRT does. Raises ConfigError if it cannot be resized to `input_shapes`."""
    litert = plugins.load("runtimes", "tflite")
    result: ExportResult = litert.adopt(path, out_dir, input_shapes=input_shapes, output=output)
    return result


def strip(source_dir: Path, target_dir: Path) -> None:
    """Write model.tflite without internal names and metadata: see edgeproof/converters/strip_tflite.py."""
    from edgeproof.converters import strip_tflite

    strip_tflite.strip(source_dir / FILE, target_dir / FILE)


class Session(InferenceSession):
    """Runs model.tflite in one thread. Quantized inputs and outputs are converted, as an application must.

    Raises Unsupported for a model with an operator that the interpreter lacks.
    """

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        from tflite_micro.python.tflite_micro import runtime

        content = (artifact_dir / FILE).read_bytes()
        graph = runtime.convert_bytearray_to_object(content).subgraphs[0]
        interpreter, self._arena = _load(content)
        self._interpreter = interpreter
        inputs = map(interpreter.get_input_details, range(len(graph.inputs)))
        self._writers = [_build_writer(interpreter, index, details) for index, details in enumerate(inputs)]
        outputs = list(map(interpreter.get_output_details, range(len(graph.outputs))))
        self._scales = [_read_quantization(details) for details in outputs]
        self._outputs = tuple(
            np.zeros(details["shape"], np.float32 if scale else details["dtype"])
            for details, scale in zip(outputs, self._scales, strict=True)
        )

    def feed(self, *inputs: Array) -> None:
        for write, x in zip(self._writers, inputs, strict=True):
            write(x)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def fetch(self) -> tuple[Array, ...]:
        for index, (output, scale) in enumerate(zip(self._outputs, self._scales, strict=True)):
            raw = self._interpreter.get_output(index)
            if scale is None:
                output[...] = raw
            else:
                np.subtract(raw, scale[1], out=output)
                np.multiply(output, scale[0], out=output)
        return self._outputs

    def measure_memory_plan(self) -> dict[str, int]:
        """Return the bytes of the arena as the recording allocator reports them: total, head, tail and their parts.

        Pointers in the tail have 8 bytes on a 64-bit machine and 4 on most microcontrollers, so the total is an upper
        limit there.
        """
        return dict(self._arena)


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the operators, which all run on the engine's own kernels. If the file quantizes, integers are expected.

    Operators inside the branches of control flow are not listed.
    """
    from tflite_micro.python.tflite_micro import runtime

    model = runtime.convert_bytearray_to_object((artifact_dir / FILE).read_bytes())
    graph = model.subgraphs[0]
    kinds = _name_constants(runtime.schema_fb.BuiltinOperator)
    dtypes = {code: name.lower() for code, name in _name_constants(runtime.schema_fb.TensorType).items()}
    placed = []
    for operator in graph.operators:
        kind = kinds[runtime.get_builtin_code_from_operator_code(model.operatorCodes[operator.opcodeIndex])]
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        computed = next((tensor for tensor in tensors if model.buffers[tensor.buffer].data is None), tensors[-1])
        where = f"reference kernel, {dtypes[computed.type]}"
        placed.append(PlacedOperator((tensors[-1].name or b"").decode(), kind, where))
    return explain_floats(placed, CONVERSIONS)


def open_layers(artifact_dir: Path) -> LayerGraph:
    """Open an artifact on the host, to read its tensors with LiteRT, whose files are read here."""
    from edgeproof.converters.tflite_layers import TfliteLayers

    return TfliteLayers(artifact_dir / FILE)


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    from importlib import metadata

    import tflite_micro  # noqa: F401 - a missing engine is an error

    return {"build": metadata.version("tflite-micro")}


def _name_constants(constants: type) -> dict[int, str]:
    """Return the names of the numbers that a class of the file format's schema defines."""
    return {number: name for name, number in vars(constants).items() if isinstance(number, int)}


def _load(content: bytes) -> tuple[Any, dict[str, int]]:
    """Load a file into an arena that is large enough. Return the interpreter and the use of its arena."""
    from tflite_micro.python.tflite_micro import runtime

    size = max(MIN_ARENA_BYTES, 4 * len(content))
    while True:
        with capture_output() as read_output:
            try:
                interpreter = runtime.Interpreter.from_bytes(content, arena_size=size)
            except (RuntimeError, ValueError):  # its text says no more than that it failed
                interpreter = None
            else:
                interpreter.print_allocations()
            text = read_output()
        if interpreter is not None:
            return interpreter, _parse_arena(text)
        if ARENA_FULL.search(text) is None or size >= MAX_ARENA_BYTES:
            raise Unsupported(_explain_failure(text))
        size = min(8 * size, MAX_ARENA_BYTES)


def _explain_failure(text: str) -> str:
    if (operator := MISSING_OPERATOR.search(text)) is not None:
        return f"LiteRT for Microcontrollers has no operator {operator[1]}"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "it gives no reason")
    return f"LiteRT for Microcontrollers can't load this model: {first[:200]}"


def _parse_arena(text: str) -> dict[str, int]:
    arena = {name: int(count) for name, count in ARENA_LINE.findall(text)}
    return arena | {name: int(count) for name, count in PART_LINE.findall(text)}


def _read_quantization(details: dict[str, Any]) -> tuple[Array, Array] | None:
    """Return the scale and the zero point of a quantized tensor, or None if its elements are the numbers themselves."""
    parameters = details["quantization_parameters"]
    if np.dtype(details["dtype"]).kind == "f" or len(parameters["scales"]) == 0:
        return None
    return np.array(parameters["scales"][0], np.float32), np.array(parameters["zero_points"][0], np.float32)


def _build_writer(interpreter: Any, index: int, details: dict[str, Any]) -> Callable[[Array], None]:
    """Return a function that sets an input, quantized if the file is quantized."""
    buffer = np.zeros(details["shape"], details["dtype"])
    quantization = _read_quantization(details)
    if quantization is None:

        def copy(x: Array) -> None:
            buffer[...] = x
            interpreter.set_input(buffer, index)

        return copy
    scale, zero = quantization
    limits = np.iinfo(details["dtype"])

    def quantize(x: Array) -> None:
        buffer[...] = (np.rint(x / scale) + zero).clip(limits.min, limits.max)
        interpreter.set_input(buffer, index)

    return quantize
