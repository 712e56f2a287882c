"""ONNX Runtime: torch.onnx.export, onnxruntime.quantization, and a session with bound buffers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from edgeproof.core.artifacts import Lowered
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

FILE = "model.onnx"
OPSET = 18
PROVIDER = "CPUExecutionProvider"

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


class Session(InferenceSession):
    """Runs model.onnx with input and output buffers bound once."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        self._session = ort.InferenceSession(artifact_dir / FILE, options, providers=[PROVIDER])
        described, produced = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input = np.zeros(described.shape, np.float32)
        self._output = np.zeros(produced.shape, np.float32)
        binding = self._session.io_binding()
        binding.bind_cpu_input(described.name, self._input)
        binding.bind_output(produced.name, "cpu", 0, np.float32, list(self._output.shape), self._output.ctypes.data)
        self._binding = binding
        self._run = self._session.run_with_iobinding

    def feed(self, x: Array) -> None:
        self._input[...] = x

    def invoke(self) -> None:
        self._run(self._binding)

    def fetch(self) -> Array:
        return self._output

    def fallbacks(self) -> list[str]:
        used: list[str] = self._session.get_providers()
        return [] if used[0] == PROVIDER else [f"ran on {used[0]} instead of {PROVIDER}"]


def describe() -> dict[str, str]:
    """The engine's build, for the record."""
    import onnxruntime as ort

    return {"build": ort.get_build_info()}


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
