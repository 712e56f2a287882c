"""ONNX Runtime: torch.onnx.export, onnxruntime.quantization, and a session with bound buffers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import Interface, Lowered, Port
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.onnx"
ADOPTS = (".onnx",)
OPSET = 18
PROVIDER = "CPUExecutionProvider"
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

_float_files: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def export(model: nn.Module, samples: Array, scheme: str, out_dir: Path) -> Lowered:
    """Lower to ONNX, then quantize with ONNX Runtime's own tools. `samples` is (N, *input_shape) float32."""
    lower = {
        "fp32": lambda: _export_fp32(model, samples, out_dir / FILE),
        "fp16": lambda: _export_fp16(model, samples, out_dir),
        "int8-dynamic": lambda: _export_int8_dynamic(model, samples, out_dir),
        "int8-static": lambda: _export_int8_static(model, samples, out_dir),
    }.get(scheme)
    if lower is None:
        raise Unsupported(f"the onnx runtime has no scheme '{scheme}'")
    lower()
    return Lowered()


def interface(path: Path) -> Interface:
    """What an .onnx file takes and answers. Raises ValueError where it leaves even the number of axes open."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in constants]
    return Interface(tuple(map(_port, given)), tuple(map(_port, graph.output)))


def adopt(path: Path, out_dir: Path, *, input_shape: Sequence[int], output: int) -> Lowered:
    """Take an .onnx file as it is, or with what it leaves open closed: a batch of one, weights in the file itself.

    Another output than the first is moved to the front, and all are still computed.
    """
    import onnx

    declared = interface(path)
    fixed = all(None not in port.shape for port in (*declared.inputs, *declared.outputs))
    skeleton = onnx.load(path, load_external_data=False)
    elsewhere = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in skeleton.graph.initializer)
    if fixed and output == 0 and not elsewhere:
        shutil.copyfile(path, out_dir / FILE)
        return Lowered()
    model = onnx.load(path)
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend([outputs.pop(output), *outputs])
    if not fixed:
        _close(model, declared.inputs[0], input_shape)
    onnx.save(model, out_dir / FILE)
    return Lowered()


class Session(InferenceSession):
    """Runs model.onnx with input and output buffers bound once; integers and halves are cast inside the call."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
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


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import onnxruntime as ort

    return {"build": ort.get_build_info()}


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        raise ValueError(f"'{value.name}' has no shape")
    return Port(
        name=value.name,
        shape=tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
    )


def _close(model: Any, port: Port, input_shape: Sequence[int]) -> None:
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
    if model not in _float_files:
        _float_files[model] = _converted(model, samples)
    path.write_bytes(_float_files[model])


def _converted(model: nn.Module, samples: Array) -> bytes:
    """The float ONNX file. Remembered for as long as the module lives: every scheme starts from it."""
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


def _export_int8_static(model: nn.Module, samples: Array, out_dir: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Feeds the calibration samples one at a time."""

        def __init__(self) -> None:
            self._feed: Iterator[dict[str, Array]] = iter({"input": samples[i : i + 1]} for i in range(len(samples)))

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feed, None)

    prepared = _prepared(model, samples, out_dir)
    quantize_static(
        prepared,
        out_dir / FILE,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


def _prepared(model: nn.Module, samples: Array, out_dir: Path) -> Path:
    """The fp32 model after ONNX Runtime's own pre-processing (shape inference, batch-norm folding)."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exported, prepared = out_dir / "exported.onnx", out_dir / "prepared.onnx"
    _export_fp32(model, samples, exported)
    quant_pre_process(exported, prepared)
    exported.unlink()
    return prepared
