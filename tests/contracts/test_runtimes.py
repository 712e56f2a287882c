"""The contract of every runtime: outputs like torch's, identical exports, reasons for unsupported schemes."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.core import plugins, profiles
from edgeproof.core.directories import hash_file, list_files, write_meta
from edgeproof.core.errors import Unsupported
from edgeproof.core.ports import Port
from edgeproof.provenance.layer_noise import measure_noise
from tests.contracts.conftest import build_module
from tests.support.absent_runtimes import cannot_run, find_device_modules, is_absent
from tests.support.runtime_tolerances import TOLERANCE

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "runtimes"
# Packages that a device does not have.
HOST_ONLY = ("torch", "onnx", "nncf", "litert_torch", "ai_edge_quantizer", "tensorflow", "keras", "yaml", "pydantic")
LINEAR_AS_CONVOLUTION = ("mnn",)  # its converter makes a 1×1 convolution of a linear layer
LISTED = {
    name: yaml.safe_load((CONF / f"{name}.yaml").read_text())["schemes"] for name in plugins.list_names("runtimes")
}
PAIRS = [
    (name, scheme)
    for name, schemes in LISTED.items()
    for scheme in schemes
    if scheme != "int8-qat"  # needs a model trained for it: test_quantize_aware.py
]
UNLISTED = [(name, scheme) for name in LISTED for scheme in TOLERANCE if scheme not in LISTED[name]]


@pytest.fixture(scope="module")
def twins() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return two equal modules, because converters cache the fp32 file of a module."""
    return build_module(), build_module()


@pytest.fixture(scope="module")
def artifacts(
    twins: tuple[torch.nn.Module, torch.nn.Module], samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Return a function that exports a module for a runtime in a scheme, once, and returns the directory."""
    root = tmp_path_factory.mktemp("artifacts")

    @functools.cache
    def artifact(name: str, scheme: str) -> Path:
        return export_module(name, scheme, twins[0], samples, root / name / scheme)

    return artifact


def export_module(name: str, scheme: str, module: torch.nn.Module, samples: np.ndarray, out: Path) -> Path:
    out.mkdir(parents=True)
    plugins.load("runtimes", name).export(module, (samples,), scheme, out)
    with torch.no_grad():
        port = Port("output", tuple(module(torch.from_numpy(samples[:1])).shape[1:]))
    write_meta(out, {"outputs": [port.to_json()]})
    return out


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_a_session_computes_what_torch_computes_within_its_number_format(
    name: str, scheme: str, twins: tuple[torch.nn.Module, ...], samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    if cannot_run(name):
        return
    artifact = artifacts(name, scheme)
    try:
        session = plugins.load("runtimes", name).Session(artifact, threads=1)
    except Unsupported as reason:  # this processor lacks the scheme's arithmetic
        pytest.skip(str(reason))
    with torch.no_grad():
        expected = twins[0](torch.from_numpy(samples)).numpy()
    outputs = np.concatenate([session(samples[i : i + 1])[0].copy() for i in range(len(samples))])
    assert outputs.dtype == np.float32
    assert outputs.shape == expected.shape
    if name == "null":
        assert not outputs.any()
    else:
        assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max()


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_an_export_has_the_same_bytes_after_any_other_export(
    name: str,
    scheme: str,
    twins: tuple[torch.nn.Module, ...],
    samples: np.ndarray,
    artifacts: Callable[..., Path],
    tmp_path: Path,
) -> None:
    if is_absent(name):
        return
    first = artifacts(name, scheme)
    again = export_module(name, scheme, twins[1], samples, tmp_path / "elsewhere" / "again")
    names = list_files(first)
    assert names == list_files(again)
    assert [hash_file(first / n) for n in names] == [hash_file(again / n) for n in names]


def test_every_scheme_has_a_tolerance() -> None:
    assert {scheme for _, scheme in PAIRS} == set(TOLERANCE)


@pytest.mark.parametrize(("name", "scheme"), UNLISTED)
def test_a_scheme_that_only_other_runtimes_have_is_unsupported_with_a_specific_reason(
    name: str, scheme: str, twins: tuple[torch.nn.Module, ...], samples: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported) as refused:
        plugins.load("runtimes", name).export(twins[0], (samples,), scheme, tmp_path)
    assert "has no scheme" not in str(refused.value)
    assert len(str(refused.value).split()) > 5


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_session_always_returns_the_same_buffers_and_its_output_depends_on_the_input_alone(
    name: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    if cannot_run(name):
        return
    session = plugins.load("runtimes", name).Session(artifacts(name, "fp32"), threads=1)
    first = session(samples[:1])
    assert isinstance(first, tuple)
    expected = first[0].copy()
    assert session(samples[1:2]) is first
    np.testing.assert_array_equal(session(samples[:1])[0], expected)


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_an_artifact_contains_no_path_of_the_machine_that_made_it(
    name: str, scheme: str, artifacts: Callable[..., Path]
) -> None:
    if is_absent(name):
        return
    artifact = artifacts(name, scheme)
    for name_of_file in list_files(artifact):
        content = (artifact / name_of_file).read_bytes()
        assert str(artifact.parents[1]).encode() not in content
        assert str(ROOT).encode() not in content


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_an_unknown_scheme_is_unsupported_with_a_reason(
    name: str, module: torch.nn.Module, samples: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match=r"\w+ \w+"):
        plugins.load("runtimes", name).export(module, (samples,), "int3-imaginary", tmp_path)


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
@pytest.mark.parametrize("scheme", ["fp32", "int8-static"])
def test_every_operator_has_a_placement_if_the_runtime_lists_them(
    name: str, scheme: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    runtime = plugins.load("runtimes", name)
    if cannot_run(name) or not hasattr(runtime, "list_placements") or scheme not in LISTED[name]:
        return
    operators = runtime.list_placements(artifacts(name, scheme), (samples[:1],), threads=1)
    assert all(operator.name and operator.kind and operator.where for operator in operators)
    convolutions = [operator for operator in operators if "conv" in operator.kind.lower()]
    parts = list(build_module().modules())
    linear_count = sum(isinstance(part, torch.nn.Linear) for part in parts) if name in LINEAR_AS_CONVOLUTION else 0
    assert len(convolutions) == sum(isinstance(part, torch.nn.Conv2d) for part in parts) + linear_count
    # Convolutions have integer kernels in every engine, and float ones too.
    assert not [operator for operator in convolutions if operator.reason]


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_the_layers_of_a_quantized_file_match_those_of_fp32_and_end_in_the_sessions_noise(
    name: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    runtime = plugins.load("runtimes", name)
    if cannot_run(name) or not hasattr(runtime, "open_layers"):
        return
    inputs = samples[:4]
    paths = [artifacts(name, scheme) for scheme in ("fp32", "int8-static")]
    reference, quantized = (runtime.open_layers(path) for path in paths)
    report = measure_noise(reference, quantized, [inputs])
    convolutions = [layer for layer in report.layers if "conv" in layer.kind.lower()]
    assert len(convolutions) == sum(isinstance(part, torch.nn.Conv2d) for part in build_module().modules())
    assert all(layer.own_db > 15 for layer in convolutions)
    outputs = []
    for path in paths:
        session = runtime.Session(path, threads=1)
        outputs.append(np.concatenate([session(inputs[i : i + 1])[0].copy() for i in range(len(inputs))]))
    noise = np.square(outputs[1].astype(float) - outputs[0]).sum()
    expected_db = 10 * np.log10(np.square(outputs[0].astype(float)).sum() / noise)
    # The engine's fused kernels round in other places than those that keep every tensor.
    assert report.layers[-1].cumulative_db == pytest.approx(expected_db, abs=3)


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
@pytest.mark.parametrize("scheme", ["fp32", "int8-static"])
def test_a_profile_holds_the_time_of_every_layer_or_the_runtime_says_why_there_is_none(
    name: str, scheme: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    runtime = plugins.load("runtimes", name)
    if cannot_run(name) or not hasattr(runtime, "profile") or scheme not in LISTED[name]:
        return
    started = time.monotonic()
    try:
        profile = runtime.profile(artifacts(name, scheme), (samples[:1],), threads=1)
    except Unsupported as error:
        profile, reason = None, str(error)
    if profile is None:
        assert len(reason.split()) > 5
        return
    duration_ns = 1e9 * (time.monotonic() - started)
    assert profile.inferences >= profiles.MIN_CALLS
    for operator in profile.operators:
        assert operator.name
        assert operator.kind
        assert operator.where
        assert 0 <= operator.time_ns < duration_ns
    # Engines fuse other operators with convolutions, but never two convolutions. One that takes less than 1 µs may be
    # missing.
    convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in build_module().modules())
    assert convolutions / 2 <= sum("conv" in operator.kind.lower() for operator in profile.operators) <= convolutions
    # A profiled inference takes at least the sum of its operators' times.
    assert 0 < profile.inferences * sum(operator.time_ns for operator in profile.operators) < duration_ns


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_runtime_describes_its_engine_in_text(name: str) -> None:
    if is_absent(name):
        return
    description = plugins.load("runtimes", name).describe()
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in description.items())


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_session_runs_with_numpy_and_the_engine_alone(
    name: str, samples: np.ndarray, artifacts: Callable[..., Path], tmp_path: Path
) -> None:
    if cannot_run(name):
        return
    np.save(tmp_path / "x.npy", samples[:1])
    blocked = tuple(module for module in HOST_ONLY if module not in find_device_modules(name))
    script = f"""
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r} or name.startswith(("edgeproof.converters", "edgeproof.models")):
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import numpy as np
from edgeproof.core import plugins
session = plugins.load("runtimes", {name!r}).Session(Path(sys.argv[1]), threads=1)
print(session(np.load(sys.argv[2]))[0].shape)
"""
    command = [sys.executable, "-c", script, str(artifacts(name, "fp32")), str(tmp_path / "x.npy")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "(1, 10)"  # some engines print a greeting before
