"""A federation gives the same global model in this process, on Ray, and as a Flower app if that is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.federated.weights import Layout
from edgeproof.federated.workers import RAY, WORKERS, run_here
from tests.support.federations import make_federation, make_top_k_federation
from tests.support.project import ROOT

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("restore_torch_settings")]
FLOWER = ROOT / ".venv-flower/bin/python"


@pytest.fixture(scope="module")
def expected() -> Federation:
    """Return a federation that was run in this process, with lost and late clients and top-k."""
    federation = make_top_k_federation()
    run_rounds(federation, run_here, Checkpoints(None))
    return federation


def extract_weights(federation: Federation) -> np.ndarray:
    weights = Layout.read(federation.module).extract(federation.module)
    return np.concatenate([weights.parameters, weights.statistics])


# In a process of its own: ray reads its token once, when it is imported, and other tests start clusters too.
ON_RAY = """
import sys
import safetensors.torch
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.rounds import run_rounds
from edgeproof.federated.workers import choose_workers, run_here
from tests.support.federations import make_top_k_federation
federation = make_top_k_federation()
history = run_rounds(federation, choose_workers(), Checkpoints(None))
assert history == run_rounds(make_top_k_federation(), run_here, Checkpoints(None))
safetensors.torch.save_file(federation.module.state_dict(), sys.argv[1])
"""


def run_program(program: list[str | Path], **variables: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same_weights(path: Path, expected: Federation) -> None:
    federation = make_federation(with_statistics=True)
    federation.module.load_state_dict(safetensors.torch.load_file(path))
    weights = extract_weights(federation)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights, extract_weights(expected), rtol=0, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="an extra: pip install 'edgeproof[farm]'")
def test_ray_gives_the_same_model(expected: Federation, tmp_path: Path) -> None:
    output = tmp_path / "global.safetensors"
    run_program([sys.executable, "-c", ON_RAY, output], **{RAY: "local", WORKERS: "2"})
    assert_same_weights(output, expected)


@pytest.mark.skipif(not FLOWER.exists(), reason="run 'make flower' to create the environment of Flower")
def test_flower_gives_the_same_model(expected: Federation, tmp_path: Path) -> None:
    output = tmp_path / "global"
    run_program(
        [FLOWER, "-m", "edgeproof_flower.simulate", "tests.support.federations:make_top_k_federation", ROOT, output],
        PYTHONPATH=f"{ROOT}:{ROOT / 'distributions/edgeproof-flower'}",
        FLWR_HOME=str(tmp_path / "flwr"),
    )
    assert_same_weights(output.with_suffix(".safetensors"), expected)
