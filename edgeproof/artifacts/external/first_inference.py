"""Run the first inference of an artifact: it shows the output's shape and states, which no file declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.artifacts.external.guards import run_guarded
from edgeproof.core import plugins

# The most samples whose outputs are compared in size.
MAX_SAMPLES = 32

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FirstInference:
    """The behaviour of an artifact in its first inference.

    Attributes:
        output_shape: the shape of the first output.
        output_size_varies: outputs of several samples had several shapes.
        states: what the artifact remembers between inferences, one line each.
    """

    output_shape: list[int]
    output_size_varies: bool
    states: list[str]

    def to_meta(self) -> dict[str, Any]:
        """Return the keys of the artifact's meta.json."""
        varies = {"output_size_varies": True} if self.output_size_varies else {}
        return {"output_shape": self.output_shape, **varies, **({"states": self.states} if self.states else {})}

    def describe(self) -> list[str]:
        """Return remarks for the table."""
        remarks = ["the size of its output depends on the data"] if self.output_size_varies else []
        if self.states:
            remarks.append(
                f"keeps a state between inferences ({', '.join(self.states)}): reset before each scored sample, kept "
                "while latency is measured"
            )
        return remarks


def run(path: str, runtime: str, directory: Path, samples: Array) -> FirstInference:
    """Run the artifact of the file `path` on some samples (N, ...) with this machine's engine.

    Raises ConfigError if that fails.
    """

    def infer() -> FirstInference:
        session = plugins.load("runtimes", runtime).Session(directory, threads=1)
        count = MAX_SAMPLES if session.allocates_output else 1
        shapes = [list(session(samples[index : index + 1]).shape) for index in range(min(count, len(samples)))]
        return FirstInference(shapes[0], any(shape != shapes[0] for shape in shapes), session.list_states())

    return run_guarded(f"{path} can't be run by {runtime}", infer)
