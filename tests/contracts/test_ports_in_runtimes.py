"""Every runtime takes several inputs and outputs, integers, and inputs of every rank, and computes what torch computes.

Each runtime runs in a process of its own, so that an engine that crashes fails one test and not the whole run.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.config.runtime_extras import find_extra
from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from tests.support.absent_runtimes import cannot_run
from tests.support.own_process import call_in_own_process
from tests.support.runtime_tolerances import find_tolerance

Array = np.ndarray
Outputs = tuple[Array, ...]
RUNTIMES = [name for name in plugins.list_names("runtimes") if name != "null"]
SCHEMES = ("fp32", "int8-dynamic", "int8-static")
VOCABULARY, LENGTH = 50, 12


class TwoPorts(nn.Module):
    """Take an image and a vector, use the second one first, and return the outputs of both in the other order."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear, self.head = nn.Conv2d(2, 4, 3), nn.Linear(5, 6), nn.Linear(6 + 4 * 36, 3)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.linear(vector))
        pixels = torch.relu(self.convolution(image)).flatten(1)
        return self.head(torch.cat([hidden, pixels], 1)), hidden * 2


class Tokens(nn.Module):
    """Embed int64 tokens and average them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(VOCABULARY, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(torch.relu(self.hidden(self.embedding(tokens))).mean(1))
        return scores


def build_case(name: str) -> tuple[nn.Module, tuple[Array, ...]]:
    """Return a module and eight samples of each of its inputs."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)

    def draw_floats(*shape: int) -> Array:
        return draw.standard_normal((8, *shape)).astype(np.float32)

    if name == "two inputs and outputs":
        return TwoPorts().eval(), (draw_floats(2, 8, 8), draw_floats(5))
    if name == "tokens":
        return Tokens().eval(), (draw.integers(0, VOCABULARY, (8, LENGTH)),)
    if name == "rank 2":
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), (draw_floats(6),)
    return nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3)).eval(), (draw_floats(3, 16),)


def predict(module: nn.Module, samples: tuple[Array, ...]) -> Outputs:
    with torch.no_grad():
        outputs = module(*map(torch.from_numpy, samples))
    return tuple(output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


def export(runtime: str, module: nn.Module, samples: tuple[Array, ...], scheme: str, artifact: Path) -> str | None:
    """Export into the directory `artifact`. Return the reason if the runtime refuses the module, else None."""
    try:
        plugins.load("runtimes", runtime).export(module, samples, scheme, artifact)
    except Unsupported as reason:
        return str(reason)
    return None


def compare_with_torch(runtime: str, case: str, directory: Path) -> None:
    module, samples = build_case(case)
    for scheme in SCHEMES:
        artifact = directory / scheme
        artifact.mkdir()
        # Quantizers average the extremes of samples and clip values beyond them, so calibrate with what is compared.
        inputs = tuple(array[:1] for array in samples) if scheme == "int8-static" else samples
        refusal = export(runtime, module, inputs, scheme, artifact)
        if refusal is not None:
            assert scheme != "fp32" or find_extra(runtime) is not None, refusal
            assert re.search(r"\w+ \w+ \w+", refusal)
            continue
        session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
        for index in range(len(inputs[0])):
            row = tuple(array[index : index + 1] for array in inputs)
            outputs, expected = session(*row), predict(module, row)
            assert [output.dtype for output in outputs] == [np.float32] * len(expected)
            assert [output.shape for output in outputs] == [array.shape for array in expected]
            tolerance = find_tolerance(runtime, scheme)
            for output, array in zip(outputs, expected, strict=True):
                assert np.abs(output - array).max() <= tolerance * np.abs(array).max(), (scheme, index)
        assert session(*row) is outputs
        with pytest.raises(ValueError, match="zip"):
            session.feed(*row, row[0])


@pytest.mark.parametrize("case", ["two inputs and outputs", "tokens", "rank 2", "rank 3"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_computes_what_torch_computes(runtime: str, case: str, tmp_path: Path) -> None:
    if cannot_run(runtime):
        return
    call_in_own_process(compare_with_torch, runtime, case, tmp_path)
