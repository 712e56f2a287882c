"""Compare the layers of a quantized artifact with those of the fp32 artifact: signal-to-noise ratios in decibels.

The graphs of both files are cut at the tensors that both have by name. Between two cuts lies a layer. Its cumulative
ratio compares its output in the whole quantized file with that in fp32. Its own ratio runs the layer alone on the
tensors of fp32, so that it has the rounding of this layer only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core.layer_graphs import ANONYMOUS, GraphNode, LayerGraph

Array = np.ndarray[Any, Any]

# Parts of the names of operators with weights. A layer that has one is called by it.
WEIGHTED = ("conv", "matmul", "gemm", "fully_connected", "lookup")


@dataclass(frozen=True)
class LayerPart:
    """The nodes between the tensors `inputs` and the tensor `name`, called by the type of the main one."""

    name: str
    kind: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class LayerNoise:
    """The ratio of signal to noise of a layer's output, alone and after all layers before it. inf is without noise."""

    name: str
    kind: str
    own_db: float
    cumulative_db: float


@dataclass(frozen=True)
class NoiseReport:
    """The layers in the order in which they run, and the names of fp32's tensors without a counterpart."""

    layers: Sequence[LayerNoise]
    unmatched: Sequence[str]

    def sort_by_own(self) -> list[LayerNoise]:
        """Return the layers, the one with the most noise of its own first."""
        return sorted(self.layers, key=lambda layer: layer.own_db)


def measure_noise(reference: LayerGraph, quantized: LayerGraph, inputs: Sequence[Array]) -> NoiseReport:
    """Measure the noise of every layer on samples: an array (N, …) for each input of the model."""
    names = [name for node in reference.nodes for name in node.outputs if not name.startswith(ANONYMOUS)]
    parts = list(find_parts(quantized.nodes, quantized.inputs, names, quantized.conversions))
    matched = {part.name for part in parts}
    unmatched = [name for name in names if name not in matched]
    if not parts:
        return NoiseReport((), unmatched)
    samples = [tuple(array[index : index + 1] for array in inputs) for index in range(len(inputs[0]))]
    shared = [part.name for part in parts]
    expected = reference.trace([dict(zip(reference.inputs, sample, strict=True)) for sample in samples], shared)
    fed = [dict(zip(quantized.inputs, sample, strict=True)) for sample in samples]
    actual = quantized.trace(fed, shared)
    layers = []
    for part in parts:
        known = [{**row, **tensors} for row, tensors in zip(fed, expected, strict=True)]
        alone = quantized.run_part([{name: row[name] for name in part.inputs} for row in known], part.name)
        signal = [tensors[part.name] for tensors in expected]
        own_db = compute_snr_db(signal, alone)
        cumulative_db = compute_snr_db(signal, [tensors[part.name] for tensors in actual])
        layers.append(LayerNoise(part.name, part.kind, own_db, cumulative_db))
    return NoiseReport(layers, unmatched)


def find_parts(
    nodes: Sequence[GraphNode], inputs: Collection[str], shared: Collection[str], conversions: Collection[str]
) -> Iterator[LayerPart]:
    """Yield the layer of each shared tensor: the nodes that lead to it from other shared tensors and from inputs."""
    producers = {name: node for node in nodes for name in node.outputs}
    cuts = {*inputs, *(name for name in producers if name in shared)}
    for node in nodes:
        for output in node.outputs:
            if output in cuts:
                part = _collect(output, producers, cuts)
                sources = tuple(dict.fromkeys(name for member in part for name in member.inputs if name in cuts))
                yield LayerPart(output, _choose_kind(part, conversions), sources)


def _collect(output: str, producers: Mapping[str, GraphNode], cuts: Collection[str]) -> list[GraphNode]:
    """Return the nodes of a layer, the last one first."""
    part: dict[str, GraphNode] = {}
    pending = [output]
    while pending:
        node = producers[pending.pop()]
        if node.outputs[0] not in part:
            part[node.outputs[0]] = node
            pending += [name for name in node.inputs if name not in cuts]
    return list(part.values())


def _choose_kind(part: Sequence[GraphNode], conversions: Collection[str]) -> str:
    """Return the type of the node with weights, or else of the last node that computes."""
    kinds = [node.kind for node in part if node.kind not in conversions] or [part[0].kind]
    return next((kind for kind in kinds if any(word in kind.lower() for word in WEIGHTED)), kinds[0])


def compute_snr_db(signal: Sequence[Array], noisy: Sequence[Array]) -> float:
    """Return 10 · log10(Σ signal² / Σ (noisy − signal)²) over all arrays. Without noise it is inf."""
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(signal, noisy, strict=True)]
    noise = sum(float(np.square(b - a).sum()) for a, b in pairs)
    power = sum(float(np.square(a).sum()) for a, _ in pairs)
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power > 0 else -math.inf
