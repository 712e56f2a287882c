"""NVIDIA's TensorRT: an ONNX file whose engine is built on the device, because an engine fits one kind of GPU only.

The network is built strongly typed, so the number format of every operator is that of the file. TensorRT 11 knows no
other way: it has neither the flags for fp16 and int8 nor a calibrator of its own.

The session was written against the Python bindings of TensorRT 10.16 and 11.4, and tested with a stub in their place.
It has never run on a GPU.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

EXTRA = "tensorrt"
FILE = "model.onnx"
INSTALL = "Install it on the device: pip install 'edgeproof[tensorrt]'"
_UNPACKED = "edgeproof exports integers for TensorRT only together with integer activations, as int8-static"
_ONE_CALIBRATION = "edgeproof calibrates for TensorRT with the extremes of the activations only, as int8-static"
UNSUPPORTED_SCHEMES = {
    "bf16": "edgeproof's ONNX files have no bfloat16: ONNX Runtime, which checks them, has no kernels for it",
    "int8-weights": _UNPACKED,
    "int4-weights": _UNPACKED,
    "int8-dynamic": "TensorRT never finds the ranges of activations at run time",
    "int8-static-minmax": _ONE_CALIBRATION,
    "int8-static-percentile": _ONE_CALIBRATION,
    "int8-static-entropy": _ONE_CALIBRATION,
    "int8-static-mse": _ONE_CALIBRATION,
    "int8-static-tensor": "edgeproof exports for TensorRT with one scale per output channel only",
    "int4-static": "TensorRT has 4-bit weights only together with activations in floating point",
    "int8-qat": "edgeproof trains for the integers of other runtimes, whose zero points TensorRT does not have",
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to an ONNX file for TensorRT: see converters/onnx_quantization.py.

    `samples` have an array (N, *shape) for each input and calibrate int8-static. Raises Unsupported for a scheme that
    TensorRT does not have.
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
        "int8-static": lambda: quantization.write_int8_static(model, samples, scheme, path, symmetric=True),
    }
    if scheme not in writers:
        raise Unsupported(f"the tensorrt runtime has no scheme '{scheme}'")
    writers[scheme]()
    return ExportResult(notes=describe_wide_layers(quantization.count_layers(path), scheme))


def explain_unavailability() -> str | None:
    """Return why no session can run on this machine, or None if TensorRT and a GPU are there."""
    try:
        import tensorrt  # noqa: F401
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        return f"TensorRT cannot be loaded on this device ({error}). {INSTALL}"
    status, count = cuda.cudaGetDeviceCount()
    if int(status) != 0 or count == 0:
        return (
            f"no GPU of NVIDIA answers on this device (CUDA's status is {status!s}), and TensorRT runs on nothing else"
        )
    return None


@dataclass(frozen=True)
class _Buffer:
    """An input or an output: an array in the host's page-locked memory, and an address in the GPU's."""

    array: Array
    device_address: int


class Session(InferenceSession):
    """Builds the engine of model.onnx and runs it on the first GPU. Buffers on both sides are allocated once.

    feed() and fetch() copy between the host and the GPU; invoke() returns when the GPU has finished. `threads` has no
    meaning here. Raises Unsupported without TensorRT, without a GPU, or if TensorRT refuses the file.
    """

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        reason = explain_unavailability()
        if reason is not None:
            raise Unsupported(reason)
        import tensorrt
        from cuda.bindings import runtime as cuda

        self._cuda = cuda
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        plan = _build_engine(tensorrt, logger, artifact_dir / FILE)
        # An execution context does not keep its engine alive, nor an engine its runtime.
        self._runtime = tensorrt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context = self._engine.create_execution_context()
        self._stream = _call(cuda.cudaStreamCreate)
        self._inputs: list[_Buffer] = []
        self._results: list[_Buffer] = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name)))
            buffer = _allocate(cuda, tuple(self._engine.get_tensor_shape(name)), dtype)
            self._context.set_tensor_address(name, buffer.device_address)
            is_input = self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
            (self._inputs if is_input else self._results).append(buffer)
        self._outputs = tuple(result.array for result in self._results)

    def feed(self, *inputs: Array) -> None:
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer.array[...] = x
            self._copy(buffer.device_address, buffer.array.ctypes.data, buffer.array.nbytes, "HostToDevice")
        _call(self._cuda.cudaStreamSynchronize, self._stream)

    def invoke(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT could not start the inference")
        _call(self._cuda.cudaStreamSynchronize, self._stream)

    def fetch(self) -> tuple[Array, ...]:
        for buffer in self._results:
            self._copy(buffer.array.ctypes.data, buffer.device_address, buffer.array.nbytes, "DeviceToHost")
        _call(self._cuda.cudaStreamSynchronize, self._stream)
        return self._outputs

    def _copy(self, target: int, source: int, size_bytes: int, direction: str) -> None:
        kind = getattr(self._cuda.cudaMemcpyKind, f"cudaMemcpy{direction}")
        _call(self._cuda.cudaMemcpyAsync, target, source, size_bytes, kind, self._stream)


def describe() -> dict[str, str]:
    """Return TensorRT's version and the name of the GPU, for the record, or nothing where a session cannot run."""
    if explain_unavailability() is not None:
        return {}
    import tensorrt
    from cuda.bindings import runtime as cuda

    name = _call(cuda.cudaGetDeviceProperties, 0).name
    return {"version": tensorrt.__version__, "gpu": name.decode() if isinstance(name, bytes) else str(name)}


def _build_engine(tensorrt: Any, logger: Any, path: Path) -> Any:
    """Build an engine and return it as bytes. Raises Unsupported with TensorRT's reasons if it refuses the file."""
    builder = tensorrt.Builder(logger)
    flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise Unsupported(f"TensorRT cannot read the ONNX file: {reasons}")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # it would round the factors of fp32 products to 10 bits
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Unsupported("TensorRT built no engine for the network. Its messages are in the log of the run")
    return plan


def _allocate(cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Buffer:
    size_bytes = math.prod(shape) * dtype.itemsize
    host_address = int(_call(cuda.cudaMallocHost, size_bytes))
    memory = (ctypes.c_ubyte * size_bytes).from_address(host_address)
    return _Buffer(np.ctypeslib.as_array(memory).view(dtype).reshape(shape), int(_call(cuda.cudaMalloc, size_bytes)))


def _call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """Call a function of CUDA, which returns a status and perhaps a value. Raises RuntimeError unless it succeeded."""
    status, *values = function(*arguments)
    if int(status) != 0:
        raise RuntimeError(f"{function.__name__} of CUDA failed: {status!s}")
    return values[0] if values else None
