"""Core ML: an export for Apple's devices. Its engine exists on Apple's systems only, so nothing is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

EXTRA = "coreml"
# The reason of every row. The sizes in it are those of the exported files.
EXPORT_ONLY = "exported and not measured: Core ML's engine exists on Apple's systems only, and no session runs there"
FILE = "model.mlpackage"
_STATIC = "edgeproof quantizes only weights for Core ML: without its engine, static ranges could not be checked"
UNSUPPORTED_SCHEMES = {
    "bf16": "Core ML has no bfloat16 weights and no bfloat16 arithmetic",
    "int4-weights": "Core ML's 4-bit weights need blocks and iOS 18; edgeproof exports for iOS 17",
    "int8-dynamic": "Core ML never finds the ranges of activations at run time",
    **dict.fromkeys(("int8-static", "int8-static-minmax", "int8-static-percentile", "int8-static-mse"), _STATIC),
    **dict.fromkeys(("int8-static-entropy", "int8-static-tensor", "int4-static"), _STATIC),
}


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Convert a module to a package of Core ML: see edgeproof/converters/coreml.py.

    `samples` have an array (N, *shape) for each input. Raises Unsupported for a scheme or a network that coremltools
    does not support.
    """
    from edgeproof.converters import coreml as converter

    if scheme in UNSUPPORTED_SCHEMES:
        raise Unsupported(UNSUPPORTED_SCHEMES[scheme])
    writers: dict[str, Callable[[], Any]] = {
        "fp32": lambda: converter.convert(model, samples),
        "fp16": lambda: converter.convert(model, samples, half=True),
        "int8-weights": lambda: converter.compress_weights(converter.convert(model, samples)),
    }
    if scheme not in writers:
        raise Unsupported(f"the coreml runtime has no scheme '{scheme}'")
    converter.save(writers[scheme](), out_dir / FILE)
    return ExportResult()


class Session(InferenceSession):
    """Raises Unsupported: see EXPORT_ONLY."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        raise Unsupported(EXPORT_ONLY)

    def feed(self, *inputs: Array) -> None:
        raise Unsupported(EXPORT_ONLY)

    def invoke(self) -> None:
        raise Unsupported(EXPORT_ONLY)

    def fetch(self) -> tuple[Array, ...]:
        raise Unsupported(EXPORT_ONLY)


def describe() -> dict[str, str]:
    """Return an empty description: nothing runs."""
    return {}
