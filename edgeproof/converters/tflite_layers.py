"""Read the tensors of a TFLite file and run parts of it with LiteRT's own kernels, which keep every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.layer_graphs import ANONYMOUS, GraphNode, LayerGraph, select_computed

Array = np.ndarray[Any, Any]


class TfliteLayers(LayerGraph):
    """A TFLite file. A tensor whose name occurs twice is called by its number."""

    conversions = ("QUANTIZE", "DEQUANTIZE")

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.tools import flatbuffer_utils

        self._model = flatbuffer_utils.read_model(str(path))
        self._graph = self._model.subgraphs[0]
        self._operators = list(self._graph.operators)
        names = [(tensor.name or b"").decode() for tensor in self._graph.tensors]
        counts = Counter(names)
        self._names = [
            name if name and counts[name] == 1 else f"{ANONYMOUS}{index}" for index, name in enumerate(names)
        ]
        self._indices = {name: index for index, name in enumerate(self._names)}
        self.inputs = [self._names[index] for index in self._graph.inputs]
        self.nodes = select_computed([self._describe(operator) for operator in self._operators], self.inputs)

    def trace(self, rows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
        traced = self._run(rows, self._operators, names)
        return [dict(zip(names, values, strict=True)) for values in traced]

    def run_part(self, rows: Sequence[Mapping[str, Array]], output: str) -> list[Array]:
        fed = {self._indices[name] for name in rows[0]}
        needed, pending = set(), [self._indices[output]]
        producers = {int(index): operator for operator in self._operators for index in operator.outputs}
        while pending:
            operator = producers.get(pending.pop())
            if operator is not None and id(operator) not in needed:
                needed.add(id(operator))
                pending += [int(index) for index in operator.inputs if int(index) not in fed]
        part = [operator for operator in self._operators if id(operator) in needed]
        return [values[0] for values in self._run(rows, part, [output])]

    def _describe(self, operator: Any) -> GraphNode:
        from ai_edge_litert.tools import flatbuffer_utils

        inputs, outputs = (
            tuple(self._names[index] for index in tensors if index >= 0)
            for tensors in (operator.inputs, operator.outputs)
        )
        kind = flatbuffer_utils.opcode_to_name(self._model, operator.opcodeIndex)
        return GraphNode(kind, inputs, outputs)

    def _run(
        self, rows: Sequence[Mapping[str, Array]], operators: Sequence[Any], names: Sequence[str]
    ) -> list[list[Array]]:
        """Run operators of the file on the tensors in the rows."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            model_content=self._pack([self._indices[name] for name in rows[0]], operators, names),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        traced = []
        for row in rows:
            for name, array in row.items():
                index = self._indices[name]
                interpreter.set_tensor(index, _quantize(array, details[index]))
            interpreter.invoke()
            indices = [self._indices[name] for name in names]
            traced.append([_dequantize(interpreter.get_tensor(index), details[index]) for index in indices])
        return traced

    def _pack(self, inputs: list[int], operators: Sequence[Any], names: Sequence[str]) -> bytes:
        """Return a file of these operators with other inputs and outputs. The tensors keep their numbers."""
        from ai_edge_litert.tools import flatbuffer_utils

        graph, model = self._graph, self._model
        kept = graph.operators, graph.inputs, graph.outputs, model.signatureDefs
        try:
            graph.operators, graph.inputs = list(operators), inputs
            graph.outputs, model.signatureDefs = [self._indices[name] for name in names], []
            return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
        finally:
            graph.operators, graph.inputs, graph.outputs, model.signatureDefs = kept


def _quantize(array: Array, details: Mapping[str, Any]) -> Array:
    """Return an array as the elements of a tensor."""
    dtype, (scale, zero) = np.dtype(details["dtype"]), details["quantization"]
    if dtype.kind not in "iu" or scale == 0:
        plain: Array = array.astype(dtype)
        return plain
    limits = np.iinfo(dtype)
    rounded: Array = np.clip(np.rint(array / np.float32(scale)) + zero, limits.min, limits.max)
    return rounded.astype(dtype)


def _dequantize(array: Array, details: Mapping[str, Any]) -> Array:
    """Return the numbers that the elements of a tensor stand for."""
    scale, zero = details["quantization"]
    if array.dtype.kind not in "iu" or scale == 0:
        return array.astype(np.float32)
    values: Array = (array.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return values
