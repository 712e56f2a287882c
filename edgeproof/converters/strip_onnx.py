"""Strip an ONNX file: names, documentation, shapes that engines infer, unused and repeated weights."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeproof.converters import onnx_files

DIGITS = string.ascii_letters + string.digits + "_"


def strip(source: Path, target: Path) -> None:
    """Write a copy of an .onnx file with what an engine reads, and the names of its inputs and outputs.

    All other values get the shortest names that are free.
    """
    model = onnx_files.load(source)
    model.ClearField("metadata_props")
    for field in ("doc_string", "producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    _merge_initializers(model.graph)
    graphs = list(_list_graphs(model.graph))
    ports = {value.name for value in [*model.graph.input, *model.graph.output]}
    used = {name for graph in graphs for node in graph.node for name in (*node.input, *node.output)} | ports
    for graph in graphs:
        _strip_graph(graph, used)
    _rename_values(graphs, ports)
    if not model.functions:
        domains = {node.domain for graph in graphs for node in graph.node} | {""}
        opsets = [opset for opset in model.opset_import if opset.domain in domains]
        del model.opset_import[:]
        model.opset_import.extend(opsets)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _list_graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs inside it, such as the branches of an If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from _list_graphs(inner)


def _merge_initializers(graph: Any) -> None:
    """Keep one initializer for each content, and let the nodes of all graphs refer to it."""
    ports = {value.name for value in [*graph.input, *graph.output]}
    first_names: dict[bytes, str] = {}
    replaced: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in ports:
            continue
        nameless = type(tensor)()
        nameless.CopyFrom(tensor)
        nameless.ClearField("name")
        nameless.ClearField("doc_string")
        first = first_names.setdefault(nameless.SerializeToString(deterministic=True), tensor.name)
        if first != tensor.name:
            replaced[tensor.name] = first
    for inner in _list_graphs(graph):
        for node in inner.node:
            node.input[:] = [replaced.get(name, name) for name in node.input]


def _strip_graph(graph: Any, used: set[str]) -> None:
    graph.ClearField("value_info")
    graph.ClearField("quantization_annotation")
    graph.name = "g"  # a name is required
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.ClearField("name")
    for holder in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        attribute.ClearField("doc_string")


def _rename_values(graphs: list[Any], ports: set[str]) -> None:
    """Give every value but the inputs and outputs of the file a short name, the same in all graphs."""
    free = (name for name in _generate_names() if name not in ports)
    names: dict[str, str] = {name: name for name in (*ports, "")}

    def rename(name: str) -> str:
        if name not in names:
            names[name] = next(free)
        return names[name]

    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = rename(value.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = rename(sparse.values.name)
        for node in graph.node:
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]


def _generate_names() -> Iterator[str]:
    """Yield a, b, …, then names of two characters, and so on. A name never begins with a digit."""
    for length in itertools.count(1):
        for characters in itertools.product(DIGITS, repeat=length):
            if characters[0] not in string.digits:
                yield "".join(characters)
