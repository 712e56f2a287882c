"""A federation gives the same global model in this process, on Ray, and as a Flower app if that is installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.federated.weights import Layout
from edgeproof.federated.workers import RAY, WORKERS, choose_workers, run_here
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


@pytest.fixture
def ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="an extra: pip install 'edgeproof[farm]'")
    yield
    ray.shutdown()


def test_ray_gives_the_same_model(expected: Federation, ray: None) -> None:
    federation = make_top_k_federation()
    history = run_rounds(federation, choose_workers({RAY: "local", WORKERS: "2"}), Checkpoints(None))
    np.testing.assert_allclose(extract_weights(federation), extract_weights(expected), rtol=0, atol=1e-6)
    assert history == run_rounds(make_top_k_federation(), run_here, Checkpoints(None))


@pytest.mark.skipif(not FLOWER.exists(), reason="run 'make flower' to create the environment of Flower")
def test_flower_gives_the_same_model(expected: Federation, tmp_path: Path) -> None:
    output = tmp_path / "global"
    script = "from edgeproof_flower.simulate import main; main()"
    arguments = ["tests.support.federations:make_top_k_federation", str(ROOT), str(output)]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "FLWR_HOME": str(tmp_path / "flwr"),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'distributions/edgeproof-flower'}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [FLOWER, "-c", script, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tensors = safetensors.torch.load_file(output.with_suffix(".safetensors"))
    federation = make_federation(with_statistics=True)
    federation.module.load_state_dict(tensors)
    np.testing.assert_allclose(extract_weights(federation), extract_weights(expected), rtol=0, atol=1e-6)
    assert torch.isfinite(torch.from_numpy(extract_weights(federation))).all()
