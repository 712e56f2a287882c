"""Every runtime computes every network as torch does, after pruning and a way through a model directory."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import Unsupported
from edgeproof.models import model_files
from tests.contracts.test_runtimes import TOLERANCE
from tests.support.tiny_networks import CONF, of_torch, pruned, random_task, tiny_module, tiny_spec

SHAPE = (1, 4, 4)
SAMPLES = random_task(SHAPE).train_x.numpy()
# Quantizers that average samples' extremes clip whatever lies beyond: what is compared is what they have seen.
CALIBRATION = SAMPLES[:1]
SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")
COMPLETE = ("onnx", "openvino", "tflite")  # refuse no network


@cache
def stored_and_loaded(name: str, directory: Path) -> torch.nn.Module:
    """One module for all runtimes and schemes: they remember what they have converted."""
    model_files.save(pruned(tiny_module(name, SHAPE), random_task(SHAPE)), tiny_spec(name, SHAPE), {}, directory / name)
    return model_files.load(directory / name)[0]


def exported(runtime: str, module: torch.nn.Module, scheme: str, artifact: Path) -> str | None:
    """Fill the directory `artifact`; the reason where the runtime cannot."""
    try:
        plugins.load("runtimes", runtime).export(module, CALIBRATION, scheme, artifact)
    except Unsupported as reason:
        return str(reason)
    return None


@pytest.mark.parametrize("runtime", [name for name in plugins.names("runtimes") if name != "null"])
@pytest.mark.parametrize("name", of_torch("networks"))
def test_a_pruned_network_computes_in_a_runtime_what_it_computes_in_torch(
    name: str, runtime: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = stored_and_loaded(name, tmp_path_factory.getbasetemp() / "models")
    offered = yaml.safe_load((CONF / "runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8"))["schemes"]
    for scheme in (scheme for scheme in SCHEMES if scheme in offered):
        compared = CALIBRATION if scheme == "int8-static" else SAMPLES
        with torch.no_grad():
            expected = module(torch.from_numpy(compared)).numpy()
        artifact = tmp_path / scheme
        artifact.mkdir()
        refusal = exported(runtime, module, scheme, artifact)
        if refusal is not None:
            assert runtime not in COMPLETE, refusal
            assert re.search(r"\w+ \w+ \w+", refusal)
            continue
        write_meta(artifact, {"output_shape": [1, *expected.shape[1:]]})
        session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
        outputs = np.concatenate([session(compared[i : i + 1]).copy() for i in range(len(compared))])
        assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max(), scheme
        assert session.fallbacks() == []
