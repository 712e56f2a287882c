"""Every runtime computes every network as torch does, after pruning and a way through a model directory."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof import models
from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import Unsupported

from .test_runtimes import TOLERANCE
from .tiny_networks import CONF, of_torch, pruned, random_task, tiny_module, tiny_spec

SHAPE = (1, 4, 4)
SAMPLES = random_task(SHAPE).train_x.numpy()
# Quantizers that average each sample's extremes would clip what is compared; wider samples leave them room.
CALIBRATION = SAMPLES * np.float32(1.5)
COMPLETE = ("onnx", "openvino", "tflite")  # refuse no network


@cache
def stored_and_loaded(name: str, directory: Path) -> torch.nn.Module:
    """One module for all runtimes and schemes: they remember what they have converted."""
    models.save(pruned(tiny_module(name, SHAPE), random_task(SHAPE)), tiny_spec(name, SHAPE), {}, directory / name)
    return models.load(directory / name)[0]


@pytest.mark.parametrize("runtime", [name for name in plugins.names("runtimes") if name != "null"])
@pytest.mark.parametrize("name", of_torch("networks"))
def test_a_pruned_network_computes_in_a_runtime_what_it_computes_in_torch(
    name: str, runtime: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = stored_and_loaded(name, tmp_path_factory.getbasetemp() / "models")
    with torch.no_grad():
        expected = module(torch.from_numpy(SAMPLES)).numpy()
    schemes = yaml.safe_load((CONF / "runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8"))["schemes"]
    for scheme in (scheme for scheme in schemes if scheme in TOLERANCE):
        artifact = tmp_path / scheme
        artifact.mkdir()
        try:
            plugins.load("runtimes", runtime).export(module, CALIBRATION, scheme, artifact)
        except Unsupported as reason:
            assert runtime not in COMPLETE, reason
            assert re.search(r"\w+ \w+ \w+", str(reason))
            continue
        write_meta(artifact, {"output_shape": [1, *expected.shape[1:]]})
        session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
        outputs = np.concatenate([session(SAMPLES[i : i + 1]).copy() for i in range(len(SAMPLES))])
        assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max(), scheme
        assert session.fallbacks() == []
