"""The contract of a model file whose tensors can be read and whose parts can run alone, on the host.

A runtime that offers it has open_layers(artifact_dir), which returns a LayerGraph. `edgeproof explain --less-accurate`
compares the tensors of a quantized artifact with those of the fp32 artifact by their names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

# Begins the name of a tensor that has none in the file, or none of its own. Such names match nothing in another file.
ANONYMOUS = "#"


class GraphNode(NamedTuple):
    """A node of the file's graph, with the names of its tensors. Constants are left out."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class LayerGraph(ABC):
    """A model file as a graph of named tensors.

    Arrays are the numbers that a tensor stands for: a tensor that the file quantizes is given after its rounding, as
    float32. The nodes are in the order in which they run. A node that depends on constants alone is left out.

    Attributes:
        inputs: the names of the model's inputs, in the order of the artifact's ports.
        nodes: the nodes of the graph.
        conversions: the types of nodes that only change the number format.
    """

    inputs: Sequence[str]
    nodes: Sequence[GraphNode]
    conversions: Collection[str]

    @abstractmethod
    def trace(self, rows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
        """Return the tensors `names` of an inference for each row, which has an array (1, …) for each input."""

    @abstractmethod
    def run_part(self, rows: Sequence[Mapping[str, Array]], output: str) -> list[Array]:
        """Return the tensor `output`, computed for each row from the tensors in it, which cut off what is before."""


def select_computed(nodes: Sequence[GraphNode], inputs: Collection[str]) -> list[GraphNode]:
    """Return the nodes that depend on an input of the graph, without their constant inputs."""
    computed = set(inputs)
    selected = []
    for node in nodes:
        used = tuple(name for name in node.inputs if name in computed)
        if used:
            computed.update(node.outputs)
            selected.append(GraphNode(node.kind, used, node.outputs))
    return selected
