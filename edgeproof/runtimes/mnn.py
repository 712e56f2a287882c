"""MNN: conversion through ONNX, and a session on one thread pool of its CPU backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported
from edgeproof.core.placements import PlacedOperator, explain_floats
from edgeproof.core.sessions import InferenceSession, choose_port_dtype

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

EXTRA = "mnn"
FILE, SHAPES_FILE = "model.mnn", "output_shapes.json"
INTEGER_MARK = "[ DT_INT8 ]"  # ends the type of an operator that computes in integers
CONVERSIONS = ("FloatToInt8", "Int8ToFloat", "Raster")  # they only move or convert numbers
NO_INTEGERS = "left in float by the quantizer, or MNN has no integer kernel for it"
_ONE_CALIBRATION = "edgeproof calibrates MNN's integers in one way, that of int8-static"
UNSUPPORTED_SCHEMES = {
    "bf16": "MNN stores no bfloat16 weights; its bfloat16 arithmetic is a setting for Arm processors",
    "int8-dynamic": "MNN has no file format for it: a session's memory setting quantizes activations at run time",
    "int8-static-minmax": _ONE_CALIBRATION,
    "int8-static-percentile": _ONE_CALIBRATION,
    "int8-static-mse": _ONE_CALIBRATION,
    "int8-static-entropy": "MNN's entropy calibration (KL) ends with a segmentation fault in version 3.6.1",
    "int8-static-tensor": "MNN's quantizer has one scale for each output channel only",
    "int4-static": "edgeproof has 4-bit weights for MNN only together with fp32 activations, as in int4-weights",
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to MNN and quantize it with MNN's own tools: see edgeproof/converters/mnn.py.

    `samples` have an array (N, *shape) for each input and calibrate the static scheme. Raises Unsupported for a scheme
    or a network that MNN does not support.
    """
    from edgeproof.converters import mnn as converter

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    path = out_dir / FILE
    writers: dict[str, Callable[[], None]] = {
        "fp32": lambda: converter.write(model, samples, path),
        "fp16": lambda: converter.write(model, samples, path, ["--fp16"]),
        "int8-weights": lambda: converter.write(model, samples, path, ["--weightQuantBits", "8"]),
        "int4-weights": lambda: converter.write(model, samples, path, ["--weightQuantBits", "4"]),
        "int8-static": lambda: converter.write_int8_static(model, samples, path),
    }
    if scheme not in writers:
        raise Unsupported(f"the mnn runtime has no scheme '{scheme}'")
    writers[scheme]()
    converter.write_shapes(model, samples, out_dir / SHAPES_FILE)
    return ExportResult()


class Session(InferenceSession):
    """Runs model.mnn on the CPU in the file's own precision, with host tensors that are bound once.

    MNN lists inputs and outputs by name. Those of an export are numbered, so they are sorted by that number.
    """

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        import MNN

        self._engine = MNN.Interpreter(str(artifact_dir / FILE))
        settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self._session = self._engine.createSession(settings)
        self._model_inputs = _sort_ports(self._engine.getSessionInputAll(self._session))
        self._model_outputs = _sort_ports(self._engine.getSessionOutputAll(self._session))
        self._hosts = [_make_host_tensor(MNN, tensor) for tensor in self._model_inputs]
        self._inputs = [host.getNumpyData() for host in self._hosts]  # views of the host tensors' memory
        self._results = [_make_host_tensor(MNN, tensor) for tensor in self._model_outputs]
        shapes = json.loads((artifact_dir / SHAPES_FILE).read_text(encoding="utf-8"))
        views = (host.getNumpyData() for host in self._results)
        self._views = [view.reshape(shape) for view, shape in zip(views, shapes, strict=True)]
        self._outputs = tuple(np.zeros(view.shape, choose_port_dtype(view.dtype.name)) for view in self._views)

    def feed(self, *inputs: Array) -> None:
        for view, host, tensor, x in zip(self._inputs, self._hosts, self._model_inputs, inputs, strict=True):
            view[...] = x
            tensor.copyFrom(host)

    def invoke(self) -> None:
        self._engine.runSession(self._session)

    def list_operators(self) -> list[tuple[str, str]]:
        """Run an inference and return the name and the type of each operator that the engine ran."""
        operators: list[tuple[str, str]] = []

        def note(tensors: list[Any], operator: Any) -> bool:
            operators.append((operator.getName(), operator.getType()))
            return True

        self._engine.runSessionWithCallBackInfo(self._session, note, lambda tensors, operator: True)
        return operators

    def fetch(self) -> tuple[Array, ...]:
        for tensor, host, view, output in zip(
            self._model_outputs, self._results, self._views, self._outputs, strict=True
        ):
            tensor.copyToHostTensor(host)
            output[...] = view
        return self._outputs


def list_placements(artifact_dir: Path, inputs: Sequence[Array], *, threads: int) -> list[PlacedOperator]:
    """List the operators of one inference on the CPU. If the file quantizes, int8 is expected."""
    session = Session(artifact_dir, threads=threads)
    session.feed(*inputs)
    placed = []
    for name, description in session.list_operators():
        kind = description.replace(INTEGER_MARK, "").strip()
        where = "CPU, int8" if INTEGER_MARK in description else "CPU, float32"
        placed.append(PlacedOperator(name, kind, where))
    return explain_floats(placed, CONVERSIONS, NO_INTEGERS)


def describe() -> dict[str, str]:
    """Return the engine's build, for the record."""
    import MNN

    return {"build": str(MNN.version())}


def _sort_ports(tensors: dict[str, Any]) -> list[Any]:
    return [tensors[name] for name in sorted(tensors, key=lambda name: (len(name), name))]


def _make_host_tensor(engine: Any, tensor: Any) -> Any:
    """Return a tensor in the host's memory, with the shape of a tensor of the session and the order of torch."""
    shape = tuple(tensor.getShape())
    zeros = np.zeros(shape, tensor.getNumpyData().dtype)
    return engine.Tensor(shape, tensor.getDataType(), zeros, engine.Tensor_DimensionType_Caffe)
