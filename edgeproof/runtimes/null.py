"""The null runtime computes nothing. Its latency is the overhead of the measurement itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import Unsupported
from edgeproof.core.sessions import InferenceSession

if TYPE_CHECKING:
    from torch import nn

SCHEMES = ("fp32",)


def export(model: nn.Module, samples: np.ndarray[Any, Any], scheme: str, out_dir: Path) -> ExportResult:
    """Write an empty file. Session only needs the output shape, which is in every artifact's meta.json.

    Raises Unsupported for any scheme but fp32.
    """
    if scheme != "fp32":
        raise Unsupported("the null runtime computes nothing, so it has no numbers to represent")
    (out_dir / "model.null").write_bytes(b"")
    return ExportResult()


class Session(InferenceSession):
    """Opens an artifact of any runtime, and returns zeros of its output shape for every input."""

    def __init__(self, artifact_dir: Path, *, threads: int) -> None:
        shape = read_meta(artifact_dir, verify=False)["output_shape"]
        self._output = np.zeros(shape, np.float32)

    def feed(self, x: np.ndarray[Any, Any]) -> None:
        pass

    def invoke(self) -> None:
        pass

    def fetch(self) -> np.ndarray[Any, Any]:
        return self._output


def describe() -> dict[str, str]:
    """Return an empty description: there is no engine."""
    return {}
