"""Read the tensors of an ONNX file and run parts of it with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.layer_graphs import GraphNode, LayerGraph, select_computed

Array = np.ndarray[Any, Any]


class OnnxLayers(LayerGraph):
    """An ONNX file. A tensor with a QuantizeLinear and a DequantizeLinear behind it is read after them."""

    conversions = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")

    def __init__(self, path: Path) -> None:
        import onnx

        self._model = onnx.load(path)
        graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._inputs = {value.name: value for value in graph.input if value.name not in self._constants}
        self._outputs = {value.name: value for value in graph.output}
        self._producers = {name: node for node in graph.node for name in node.output}
        self.inputs = list(self._inputs)
        nodes = [GraphNode(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
        self.nodes = select_computed(nodes, self.inputs)
        self._rounded = _find_rounded(self.nodes)
        inferred = onnx.shape_inference.infer_shapes(self._model).graph
        self._types = {
            value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in (*inferred.value_info, *self._inputs.values())
            if value.type.tensor_type.elem_type
        }

    def trace(self, rows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
        outputs = [self._rounded.get(name, name) for name in names]
        return [dict(zip(names, values, strict=True)) for values in self._run(rows, outputs)]

    def run_part(self, rows: Sequence[Mapping[str, Array]], output: str) -> list[Array]:
        return [values[0] for values in self._run(rows, [self._rounded.get(output, output)])]

    def _run(self, rows: Sequence[Mapping[str, Array]], outputs: Sequence[str]) -> list[list[Array]]:
        """Run the nodes between the tensors of the rows and the outputs."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        part = self._extract(rows[0], outputs)
        session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return [session.run(list(outputs), {name: self._cast(name, row[name]) for name in names}) for row in rows]

    def _cast(self, name: str, array: Array) -> Array:
        """Return an array in the element type of the file's tensor."""
        return array.astype(self._types.get(name, array.dtype), copy=False)

    def _extract(self, feed: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        """Return a model of the nodes that lead from the fed tensors to the outputs."""
        from onnx import ModelProto, ValueInfoProto, helper

        needed = _find_needed(self._producers, feed, outputs)
        nodes = [node for node in self._model.graph.node if node.output[0] in needed]
        used = {name for node in nodes for name in node.input}
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(self._cast(name, array).dtype), array.shape
            )
            for name, array in feed.items()
            if name in used
        ]
        constants = [tensor for name, tensor in self._constants.items() if name in used]
        ports = [self._outputs.get(name, ValueInfoProto(name=name)) for name in dict.fromkeys(outputs)]
        part = ModelProto()
        part.CopyFrom(self._model)
        part.graph.CopyFrom(helper.make_graph(nodes, "part", inputs, ports, constants))
        return part


def _find_needed(producers: Mapping[str, Any], feed: Collection[str], outputs: Sequence[str]) -> set[str]:
    """Return the first outputs of the nodes between the fed tensors and the outputs."""
    needed: set[str] = set()
    pending = list(outputs)
    while pending:
        node = producers.get(pending.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            pending += [name for name in node.input if name not in feed]
    return needed


def _find_rounded(nodes: Sequence[GraphNode]) -> dict[str, str]:
    """Return the rounded twin of each tensor that the file quantizes: the output of the DequantizeLinear behind it."""
    quantized = {node.inputs[0]: node.outputs[0] for node in nodes if node.kind == "QuantizeLinear"}
    restored = {node.inputs[0]: node.outputs[0] for node in nodes if node.kind == "DequantizeLinear"}
    return {name: restored[integers] for name, integers in quantized.items() if integers in restored}
