"""Run the first inference of an artifact: it shows the outputs' shapes and states, which no file declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.artifacts.external.guards import run_guarded
from edgeproof.core import plugins
from edgeproof.core.ports import Port

# The most samples whose outputs are compared in size.
MAX_SAMPLES = 32

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FirstInference:
    """The behaviour of an artifact in its first inference.

    Attributes:
        outputs: the outputs, of the shapes that they had in the first inference.
        output_size_varies: an output had several shapes with several samples, or is empty.
        states: what the artifact remembers between inferences, one line each.
    """

    outputs: tuple[Port, ...]
    output_size_varies: bool
    states: list[str]

    def to_meta(self) -> dict[str, Any]:
        """Return the keys of the artifact's meta.json."""
        varies = {"output_size_varies": True} if self.output_size_varies else {}
        states = {"states": self.states} if self.states else {}
        return {"outputs": [port.to_json() for port in self.outputs], **varies, **states}

    def describe(self) -> list[str]:
        """Return remarks for the table."""
        remarks = ["the size of its output depends on the data"] if self.output_size_varies else []
        if self.states:
            remarks.append(
                f"keeps a state between inferences ({', '.join(self.states)}): reset before each scored sample, kept "
                "while latency is measured"
            )
        return remarks


def run(path: str, runtime: str, directory: Path, samples: tuple[Array, ...], names: Sequence[str]) -> FirstInference:
    """Run the artifact of the file `path` on some samples with this machine's engine.

    `samples` have an array (N, ...) for each input; `names` are those of the outputs. Raises ConfigError if that fails.
    """

    def infer() -> FirstInference:
        session = plugins.load("runtimes", runtime).Session(directory, threads=1)
        count = min(MAX_SAMPLES if session.allocates_output else 1, len(samples[0]))
        rows = ([array[index : index + 1] for array in samples] for index in range(count))
        results = [[(output.shape, output.dtype.name) for output in session(*row)] for row in rows]
        ports = tuple(
            Port(name, tuple(max(1, size) for size in _drop_batch(shape)), dtype)
            for name, (shape, dtype) in zip(names, results[0], strict=True)
        )
        is_empty = any(0 in shape for shape, _ in results[0])
        varies = is_empty or any(result != results[0] for result in results)
        return FirstInference(ports, varies, session.list_states())

    return run_guarded(f"{path} can't be run by {runtime}", infer)


def _drop_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its batch axis of 1. An output of another kind has none."""
    return shape[1:] if shape[:1] == (1,) else shape
