"""Read the tensors of an OpenVINO file and run parts of it on the CPU plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.layer_graphs import ANONYMOUS, GraphNode, LayerGraph, select_computed

Array = np.ndarray[Any, Any]
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


class OpenVinoLayers(LayerGraph):
    """An OpenVINO file. A tensor with a FakeQuantize behind it is read after it."""

    conversions = ("FakeQuantize", "FakeConvert", "Convert")

    def __init__(self, path: Path) -> None:
        import openvino as ov

        self._core = ov.Core()
        self._model = self._core.read_model(path)
        operations = self._model.get_ordered_ops()
        # The place of each tensor: the number of its operation and of the output. A clone has the same ones.
        self._places = {
            _name(port): (number, index)
            for number, operation in enumerate(operations)
            if operation.get_type_name() != "Result"
            for index, port in enumerate(operation.outputs())
        }
        self.inputs = [_name(port) for port in self._model.inputs]
        self.nodes = select_computed(
            [
                GraphNode(
                    operation.get_type_name(),
                    tuple(_name(value) for value in operation.input_values()),
                    tuple(_name(port) for port in operation.outputs()),
                )
                for operation in operations
                if operation.get_type_name() not in ("Parameter", "Result")
            ],
            self.inputs,
        )
        self._rounded = {node.inputs[0]: node.outputs[0] for node in self.nodes if node.kind == "FakeQuantize"}

    def trace(self, rows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
        return [dict(zip(names, values, strict=True)) for values in self._run(rows, names)]

    def run_part(self, rows: Sequence[Mapping[str, Array]], output: str) -> list[Array]:
        return [values[0] for values in self._run(rows, [output])]

    def _run(self, rows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[list[Array]]:
        """Run the operations between the tensors of the rows and the named ones."""
        import openvino as ov
        from openvino import opset13

        clone = self._model.clone()
        operations = clone.get_ordered_ops()
        outputs = [self._find(operations, self._rounded.get(name, name)) for name in names]
        parameters = []
        for name, array in rows[0].items():
            port = self._find(operations, name)
            parameter = opset13.parameter(list(array.shape), port.get_element_type())
            for reader in port.get_target_inputs():
                if reader.get_node().get_type_name() != "Result":
                    reader.replace_source_output(parameter.output(0))
            parameters.append(parameter)
        dtypes = [parameter.get_element_type().to_dtype() for parameter in parameters]
        part = ov.Model([opset13.result(port) for port in outputs], parameters, "part")
        request = self._core.compile_model(part, "CPU", OPTIONS).create_infer_request()
        results = []
        for row in rows:
            fed = [array.astype(dtype) for array, dtype in zip(row.values(), dtypes, strict=True)]
            computed = request.infer(fed)
            results.append([np.array(computed[index], np.float32) for index in range(len(names))])
        return results

    def _find(self, operations: Sequence[Any], name: str) -> Any:
        number, index = self._places[name]
        return operations[number].output(index)


def _name(port: Any) -> str:
    """Return the most telling name of a tensor, or one made from its operation's if it has none."""
    names = sorted(port.get_names())
    return str(names[-1]) if names else f"{ANONYMOUS}{port.get_node().get_friendly_name()}.{port.get_index()}"
