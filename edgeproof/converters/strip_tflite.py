"""Strip a TFLite file: names, conversion notes, recorded ranges, and data that it stores twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from edgeproof.core.errors import Unsupported

Array = np.ndarray[Any, Any]

FILE_IDENTIFIER = b"TFL3"
DATA_ALIGNMENT = 16  # force_align of a buffer's data in the schema of TFLite
# Metadata of converters, which no engine reads. Other entries may change how an engine computes, and stay.
UNREAD_METADATA = (b"min_runtime_version", b"keep_stablehlo_constant", b"CONVERSION_METADATA", b"TFLITE_METADATA")


def strip(source: Path, target: Path) -> None:
    """Write a copy of a .tflite file with what an engine reads, and the names of its inputs and outputs.

    A single signature is dropped, because its names repeat those of the tensors. Raises Unsupported for a file that
    keeps weights outside of its tables, as files above 2 GB do.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    if any(buffer.offset > 1 for buffer in model.buffers) or model.externalBuffers:
        raise Unsupported("the file keeps weights outside of its tables")
    model.description = None
    model.metadata = [entry for entry in model.metadata or [] if entry.name not in UNREAD_METADATA] or None
    model.metadataBuffer = None
    if len(model.signatureDefs or []) == 1:
        model.signatureDefs = None
    for graph in model.subgraphs:
        _strip_graph(graph)
    _merge_buffers(model)
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    target.write_bytes(builder.Output())


def _strip_graph(graph: Any) -> None:
    """Drop the names and what only converters read of one graph."""
    ports = {*graph.inputs, *graph.outputs}
    graph.name, graph.debugMetadataIndex = None, -1
    for operator in graph.operators:
        operator.debugMetadataIndex = -1
    for index, tensor in enumerate(graph.tensors):
        if index not in ports:
            tensor.name = None
        if tensor.shapeSignature is not None and (tensor.shapeSignature >= 0).all():
            tensor.shapeSignature = None  # it differs from the shape in open sizes alone
        quantization = tensor.quantization
        if quantization is not None:
            quantization.min = quantization.max = None
            if quantization.scale is None and quantization.details is None:
                tensor.quantization = None


def _merge_buffers(model: Any) -> None:
    """Keep one buffer for each content that is used. Number 0 is empty and stands for no data."""
    users = [tensor for graph in model.subgraphs for tensor in graph.tensors] + (model.metadata or [])
    buffers, numbers = [model.buffers[0]], {b"": 0}
    for user in users:
        data = model.buffers[user.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in numbers:
            numbers[content] = len(buffers)
            buffers.append(model.buffers[user.buffer])
        user.buffer = numbers[content]
    model.buffers = buffers


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors once, such as shapes and zero points, and aligns data as the schema asks."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._offsets: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802 (the name of the method that it replaces)
        """Return the offset of a vector with the elements of `x`, in the order of bytes that the format prescribes."""
        elements = np.ascontiguousarray(x).astype(x.dtype.newbyteorder("<"), copy=False)
        content = elements.tobytes()
        key = (elements.dtype.str, content)
        if key not in self._offsets:
            alignment = DATA_ALIGNMENT if elements.itemsize == 1 else elements.itemsize
            self.StartVector(elements.itemsize, elements.size, alignment)
            self.head -= len(content)
            self.Bytes[self.head : self.head + len(content)] = content
            self._offsets[key] = self.EndVector()
        return self._offsets[key]
