"""A stub of TensorRT and CUDA: engines are run by ONNX Runtime, and a GPU's memory is other memory of this process.

As on a GPU, nothing that was put on a stream has happened before the stream is synchronized.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

STREAM = 7
DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


class Status(enum.IntEnum):
    """CUDA's result of a call."""

    SUCCESS = 0
    NO_DEVICE = 100


class Gpu:
    """Memory and one stream. `modules` are what Python imports, by name."""

    def __init__(self, *, devices: int = 1) -> None:
        self.kept: list[Any] = []
        self.queue: list[Callable[[], Any]] = []
        self.flags: list[str] = []
        status = Status.SUCCESS if devices else Status.NO_DEVICE
        kinds = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        cuda = types.ModuleType("cuda.bindings.runtime")
        vars(cuda).update(
            cudaGetDeviceCount=lambda: (status, devices),
            cudaGetDeviceProperties=lambda index: (Status.SUCCESS, types.SimpleNamespace(name=b"Stub 1")),
            cudaStreamCreate=lambda: (Status.SUCCESS, STREAM),
            cudaStreamSynchronize=self.synchronize,
            cudaMalloc=self.allocate,
            cudaMallocHost=self.allocate,
            cudaMemcpyAsync=self.copy,
            cudaMemcpyKind=kinds,
        )
        bindings = types.ModuleType("cuda.bindings")
        vars(bindings)["runtime"] = cuda
        self.modules = {
            "tensorrt": make_tensorrt(self),
            "cuda": types.ModuleType("cuda"),
            "cuda.bindings": bindings,
            "cuda.bindings.runtime": cuda,
        }

    def allocate(self, size_bytes: int) -> tuple[Status, int]:
        memory = (ctypes.c_ubyte * size_bytes)()
        self.kept.append(memory)
        return Status.SUCCESS, ctypes.addressof(memory)

    def copy(self, target: int, source: int, size_bytes: int, kind: int, stream: int) -> tuple[Status]:
        assert stream == STREAM
        self.queue.append(lambda: ctypes.memmove(target, source, size_bytes))
        return (Status.SUCCESS,)

    def synchronize(self, stream: int) -> tuple[Status]:
        assert stream == STREAM
        for operation in self.queue:
            operation()
        self.queue.clear()
        return (Status.SUCCESS,)


def make_tensorrt(gpu: Gpu) -> types.ModuleType:
    """Return the part of the module tensorrt that edgeproof uses."""

    class Network:
        path: Path

    class Parser:
        def __init__(self, network: Network, logger: object) -> None:
            self.network, self.errors = network, list[str]()

        @property
        def num_errors(self) -> int:
            return len(self.errors)

        def get_error(self, index: int) -> Any:
            return types.SimpleNamespace(desc=lambda: self.errors[index])

        def parse_from_file(self, path: str) -> bool:
            self.network.path = Path(path)
            try:
                onnx.checker.check_model(onnx.load(path))
            except Exception as error:
                self.errors.append(str(error).splitlines()[0])
            return not self.errors

    class Builder:
        def __init__(self, logger: object) -> None:
            pass

        def create_network(self, flags: int) -> Network:
            gpu.flags.append(f"network {flags}")
            return Network()

        def create_builder_config(self) -> Any:
            return types.SimpleNamespace(clear_flag=lambda flag: gpu.flags.append(f"without {flag}"))

        def build_serialized_network(self, network: Network, config: object) -> bytes:
            return network.path.read_bytes()

    class Context:
        def __init__(self, session: onnxruntime.InferenceSession) -> None:
            self.session, self.addresses = session, dict[str, int]()

        def set_tensor_address(self, name: str, address: int) -> None:
            self.addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == STREAM
            gpu.queue.append(self.run)
            return True

        def view(self, port: Any) -> np.ndarray[Any, Any]:
            dtype = np.dtype(DTYPES[port.type])
            size_bytes = int(np.prod(port.shape)) * dtype.itemsize
            memory = (ctypes.c_ubyte * size_bytes).from_address(self.addresses[port.name])
            return np.frombuffer(memory, dtype).reshape(port.shape)

        def run(self) -> None:
            results = self.session.run(None, {port.name: self.view(port) for port in self.session.get_inputs()})
            for port, result in zip(self.session.get_outputs(), results, strict=True):
                self.view(port)[...] = result

    class Engine:
        def __init__(self, plan: bytes) -> None:
            self.session = onnxruntime.InferenceSession(plan)
            self.inputs = {port.name: port for port in self.session.get_inputs()}
            self.ports = [*self.session.get_inputs(), *self.session.get_outputs()]
            self.num_io_tensors = len(self.ports)

        def get_tensor_name(self, index: int) -> str:
            return str(self.ports[index].name)

        def _find(self, name: str) -> Any:
            return next(port for port in self.ports if port.name == name)

        def get_tensor_dtype(self, name: str) -> str:
            return DTYPES[self._find(name).type]

        def get_tensor_shape(self, name: str) -> list[int]:
            return list(self._find(name).shape)

        def get_tensor_mode(self, name: str) -> str:
            return "input" if name in self.inputs else "output"

        def create_execution_context(self) -> Context:
            return Context(self.session)

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            pass

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine:
            return Engine(plan)

    module = types.ModuleType("tensorrt")
    vars(module).update(
        __version__="11.4.0",
        Logger=Logger,
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=1),
        BuilderFlag=types.SimpleNamespace(TF32="TF32"),
        TensorIOMode=types.SimpleNamespace(INPUT="input"),
        nptype=np.dtype,
    )
    return module
