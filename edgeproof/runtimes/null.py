"""The null runtime computes nothing. Its latency is the overhead of the measurement itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult, read_outputs
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

SCHEMES = ("fp32",)


def export(model: nn.Module, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Write an empty file. Session only needs the outputs, which are in every artifact's meta.json.

    Raises Unsupported for any scheme but fp32.
    """
    if scheme != "fp32":
        raise Unsupported("the null runtime computes nothing, so it has no numbers to represent")
    (out_dir / "model.null").write_bytes(b"")
    return ExportResult()


class Session(InferenceSession):
    """Opens an artifact of any runtime, and returns zeros of its outputs' shapes for every input."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        outputs = read_outputs(read_meta(artifact_dir, verify=False))
        self._outputs = tuple(np.zeros((1, *port.shape), port.dtype) for port in outputs)

    def feed(self, *inputs: Array) -> None:
        pass

    def invoke(self) -> None:
        pass

    def fetch(self) -> tuple[Array, ...]:
        return self._outputs


def describe() -> dict[str, str]:
    """Return an empty description: there is no engine."""
    return {}
