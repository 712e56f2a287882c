"""What a runtime's export() and adopt() hand back, and what a file that was made elsewhere says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export: `notes` are remarks for the table (what a scheme left in floating point, say)."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a file: its shape, with None where the file leaves it open, and numpy's name of its type.

    `quantization` is the scale and zero point where integers q stand for the numbers (q - zero point) * scale.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class ModelInterface:
    """All inputs and outputs that a file declares."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
