"""Every runtime computes every network like torch, after pruning, saving and loading."""

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
from tests.support.runtime_tolerances import TOLERANCE
from tests.support.tiny_networks import (
    CONF,
    build_tiny_module,
    build_tiny_spec,
    list_torch_plugins,
    make_random_task,
    prune_half_the_channels,
)

SHAPE = (1, 4, 4)
SAMPLES = make_random_task(SHAPE).train_x.numpy()
# Quantizers average the extremes of samples and clip values beyond them, so compare the calibration sample only.
CALIBRATION = SAMPLES[:1]
SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")
COMPLETE = ("onnx", "openvino", "tflite")  # runtimes that refuse no network


@cache
def store_and_load(name: str, directory: Path) -> torch.nn.Module:
    """Return the same module for all runtimes and schemes, because runtimes cache conversions by module."""
    model_files.save(
        prune_half_the_channels(build_tiny_module(name, SHAPE), make_random_task(SHAPE)),
        build_tiny_spec(name, SHAPE),
        {},
        directory / name,
    )
    return model_files.load(directory / name)[0]


def export(runtime: str, module: torch.nn.Module, scheme: str, artifact: Path) -> str | None:
    """Export into the directory `artifact`. Return the reason if the runtime refuses the module, else None."""
    try:
        plugins.load("runtimes", runtime).export(module, CALIBRATION, scheme, artifact)
    except Unsupported as reason:
        return str(reason)
    return None


@pytest.mark.parametrize("runtime", [name for name in plugins.list_names("runtimes") if name != "null"])
@pytest.mark.parametrize("name", list_torch_plugins("networks"))
def test_a_runtime_computes_a_pruned_network_like_torch(
    name: str, runtime: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = store_and_load(name, tmp_path_factory.getbasetemp() / "models")
    schemes = yaml.safe_load((CONF / "runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8"))["schemes"]
    for scheme in (scheme for scheme in SCHEMES if scheme in schemes):
        inputs = CALIBRATION if scheme == "int8-static" else SAMPLES
        with torch.no_grad():
            expected = module(torch.from_numpy(inputs)).numpy()
        artifact = tmp_path / scheme
        artifact.mkdir()
        refusal = export(runtime, module, scheme, artifact)
        if refusal is not None:
            assert runtime not in COMPLETE, refusal
            assert re.search(r"\w+ \w+ \w+", refusal)
            continue
        write_meta(artifact, {"output_shape": [1, *expected.shape[1:]]})
        session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
        outputs = np.concatenate([session(inputs[i : i + 1]).copy() for i in range(len(inputs))])
        assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max(), scheme
        assert session.fallbacks() == []
