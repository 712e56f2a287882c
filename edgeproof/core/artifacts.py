"""Types of the runtimes' contract: the result of an export, and the inputs and outputs of a model file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportResult:
    """The result of a runtime's export() or adopt().

    `notes` are remarks for the table, such as the layers whose weights a quantizer left in floating point.
    """

    notes: tuple[str, ...] = ()


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
