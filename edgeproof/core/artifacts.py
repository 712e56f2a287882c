"""Types of the runtimes' contract: the result of an export, the ports of an artifact, the interface of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeproof.core.ports import Port


@dataclass(frozen=True)
class ExportResult:
    """The result of a runtime's export() or adopt().

    `notes` are remarks for the table, such as the layers whose weights a quantizer left in floating point.
    `unstripped_bytes` is the size of the files before they were stripped, or None if they were not.
    """

    notes: tuple[str, ...] = ()
    unstripped_bytes: int | None = None


@dataclass(frozen=True)
class TensorSpec:
    """An input or output that a model file declares.

    `shape` has None for every size that the file leaves open, and is None itself if the number of axes is unknown.
    `dtype` is numpy's name of the element type, or the engine's own name of a type that numpy lacks.
    `quantization` is a scale and a zero point: an integer q of the file stands for (q - zero point) * scale.
    It is None where the elements are the numbers themselves.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class ModelInterface:
    """All inputs and outputs that a model file declares, in the file's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_inputs(meta: Mapping[str, Any]) -> tuple[Port, ...]:
    """Return the inputs in the meta.json of an artifact. They are empty if an older one names none."""
    if "inputs" in meta:
        return tuple(map(Port.from_json, meta["inputs"]))
    return (Port("input", tuple(meta["input_shape"][1:])),) if "input_shape" in meta else ()


def read_outputs(meta: Mapping[str, Any]) -> tuple[Port, ...]:
    """Return the outputs in the meta.json of an artifact, also of an older one that has the shape of a single output.

    They are empty if it names none.
    """
    if "outputs" in meta:
        return tuple(map(Port.from_json, meta["outputs"]))
    return (Port("output", tuple(meta["output_shape"][1:])),) if "output_shape" in meta else ()
