"""Every runtime computes every network like torch, after pruning, saving and loading.

Each pair runs in a process of its own, so that an engine that crashes fails one test and not the whole run.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.config.runtime_extras import find_extra
from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import Unsupported
from edgeproof.models import frameworks, model_files
from tests.support.absent_runtimes import cannot_run
from tests.support.network_kinds import Interface, draw_inputs, find_kind, make_random_task
from tests.support.own_process import call_in_own_process
from tests.support.runtime_tolerances import find_tolerance
from tests.support.tiny_networks import (
    CONF,
    build_tiny_module,
    build_tiny_spec,
    list_torch_plugins,
    prune_half_the_channels,
)

SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")
COMPLETE = ("onnx", "openvino", "tflite")  # runtimes that refuse no network
# An export takes seconds. Runtimes that are extras: one network of each form, in two schemes. The others: every
# network in fp32, one of each form in all schemes, and the rest of the schemes in `make test-thorough`.
REPRESENTATIVE = ("ds_cnn", "resnet8", "tiny_yolo", "transformer")
PAIRS = [
    (name, runtime)
    for runtime in plugins.list_names("runtimes")
    for name in list_torch_plugins("networks")
    if runtime != "null" and (find_extra(runtime) is None or name in REPRESENTATIVE)
]


def store_and_load(name: str, interface: Interface, directory: Path) -> torch.nn.Module:
    """Prune a network, save it and load it."""
    model_files.save(
        prune_half_the_channels(build_tiny_module(name, interface), make_random_task(name, interface)),
        build_tiny_spec(name, interface),
        {},
        directory / name,
    )
    return model_files.load(directory / name)[0]


def export(
    runtime: str, module: torch.nn.Module, calibration: tuple[np.ndarray, ...], scheme: str, artifact: Path
) -> str | None:
    """Export into the directory `artifact`. Return the reason if the runtime refuses the module, else None."""
    try:
        plugins.load("runtimes", runtime).export(module, calibration, scheme, artifact)
    except Unsupported as reason:
        return str(reason)
    return None


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_a_runtime_computes_a_pruned_network_like_torch(name: str, runtime: str, tmp_path: Path) -> None:
    if cannot_run(runtime):
        return
    if find_extra(runtime) is not None:
        tested: tuple[str, ...] = ("fp32", "int8-static")
    else:
        tested = SCHEMES if name in REPRESENTATIVE else ("fp32",)
    call_in_own_process(compare_with_torch, name, runtime, tested, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "runtime"), [pair for pair in PAIRS if pair[0] not in REPRESENTATIVE])
def test_a_runtime_computes_further_schemes_like_torch(name: str, runtime: str, tmp_path: Path) -> None:
    call_in_own_process(compare_with_torch, name, runtime, SCHEMES[1:], tmp_path)


@pytest.mark.parametrize("runtime", COMPLETE)
def test_a_runtime_computes_channels_of_features_like_torch(runtime: str, tmp_path: Path) -> None:
    call_in_own_process(compare_with_torch, "ds_cnn_1d", runtime, ("fp32", "int8-static"), tmp_path, (3, 8, 4))


def compare_with_torch(
    name: str, runtime: str, tested: tuple[str, ...], directory: Path, shape: tuple[int, ...] | None = None
) -> None:
    """Compare an artifact's outputs with those of torch, by default for the tiniest inputs of the network's kind."""
    ports_in, ports_out = find_kind(name).tiniest
    if shape is not None:
        ports_in = (replace(ports_in[0], shape=shape),)
    samples = tuple(tensor.numpy() for tensor in draw_inputs(ports_in, 24))
    # Quantizers average the extremes of samples and clip values beyond them, so compare the calibration sample only.
    calibration = tuple(array[:1] for array in samples)
    module = store_and_load(name, (ports_in, ports_out), directory)
    schemes = yaml.safe_load((CONF / "runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8"))["schemes"]
    for scheme in (scheme for scheme in tested if scheme in schemes):
        inputs = calibration if scheme == "int8-static" else samples
        expected = frameworks.predict(module, inputs)
        artifact = directory / scheme
        artifact.mkdir()
        refusal = export(runtime, module, calibration, scheme, artifact)
        if refusal is not None:
            assert runtime not in COMPLETE, refusal
            assert re.search(r"\w+ \w+ \w+", refusal)
            continue
        ports = {"inputs": ports_in, "outputs": ports_out}
        write_meta(artifact, {key: [port.to_json() for port in ports[key]] for key in ports})
        session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
        rows = [tuple(array[i : i + 1] for array in inputs) for i in range(len(inputs[0]))]
        answers = [[array.copy() for array in session(*row)] for row in rows]
        outputs = [np.concatenate(parts) for parts in zip(*answers, strict=True)]
        for ours, theirs in zip(outputs, expected, strict=True):
            assert np.abs(ours - theirs).max() <= find_tolerance(runtime, scheme) * np.abs(theirs).max(), scheme
        assert session.fallbacks() == []
