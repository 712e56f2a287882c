"""What every runtime promises, checked against torch's own outputs of the same module."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.core import plugins, profiles
from edgeproof.core.directories import hash_file, write_meta
from edgeproof.core.errors import Unsupported
from tests.contracts.conftest import build_module
from tests.support.runtime_tolerances import TOLERANCE

CONF = Path(__file__).parents[2] / "conf" / "runtimes"
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
    """Two equal modules: runtimes remember the float file of a module they have seen."""
    return build_module(), build_module()


@pytest.fixture(scope="module")
def artifacts(
    twins: tuple[torch.nn.Module, torch.nn.Module], samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Every runtime's artifact in every scheme, made once."""
    root = tmp_path_factory.mktemp("artifacts")

    @functools.cache
    def artifact(name: str, scheme: str) -> Path:
        return exported(name, scheme, twins[0], samples, root / name / scheme)

    return artifact


def exported(name: str, scheme: str, module: torch.nn.Module, samples: np.ndarray, out: Path) -> Path:
    out.mkdir(parents=True)
    plugins.load("runtimes", name).export(module, samples, scheme, out)
    with torch.no_grad():
        shape = list(module(torch.from_numpy(samples[:1])).shape)
    write_meta(out, {"output_shape": shape})
    return out


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_a_session_computes_what_torch_computes_within_its_number_format(
    name: str, scheme: str, twins: tuple[torch.nn.Module, ...], samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    artifact = artifacts(name, scheme)
    try:
        session = plugins.load("runtimes", name).Session(artifact, threads=1)
    except Unsupported as reason:  # an export is the same everywhere, a processor isn't
        pytest.skip(str(reason))
    with torch.no_grad():
        expected = twins[0](torch.from_numpy(samples)).numpy()
    outputs = np.concatenate([session(samples[i : i + 1]).copy() for i in range(len(samples))])
    assert outputs.dtype == np.float32
    assert outputs.shape == expected.shape
    if name == "null":
        assert not outputs.any()
    else:
        assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max()


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_an_export_is_the_same_to_the_bit_whatever_was_exported_before(
    name: str,
    scheme: str,
    twins: tuple[torch.nn.Module, ...],
    samples: np.ndarray,
    artifacts: Callable[..., Path],
    tmp_path: Path,
) -> None:
    first = artifacts(name, scheme)
    again = exported(name, scheme, twins[1], samples, tmp_path / "elsewhere" / "again")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert [hash_file(first / n) for n in names] == [hash_file(again / n) for n in names]


def test_every_scheme_has_a_tolerance() -> None:
    assert {scheme for _, scheme in PAIRS} == set(TOLERANCE)


@pytest.mark.parametrize(("name", "scheme"), UNLISTED)
def test_a_scheme_that_other_runtimes_have_is_refused_with_a_reason_of_its_own(
    name: str, scheme: str, twins: tuple[torch.nn.Module, ...], samples: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported) as refused:
        plugins.load("runtimes", name).export(twins[0], samples, scheme, tmp_path)
    assert "has no scheme" not in str(refused.value)
    assert len(str(refused.value).split()) > 5


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_session_returns_one_buffer_and_depends_on_its_input_alone(
    name: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    session = plugins.load("runtimes", name).Session(artifacts(name, "fp32"), threads=1)
    first = session(samples[:1])
    kept = first.copy()
    assert session(samples[1:2]) is first
    np.testing.assert_array_equal(session(samples[:1]), kept)


@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_an_artifact_holds_no_path_of_the_machine_that_made_it(
    name: str, scheme: str, artifacts: Callable[..., Path]
) -> None:
    artifact = artifacts(name, scheme)
    for path in artifact.iterdir():
        content = path.read_bytes()
        assert str(artifact.parents[1]).encode() not in content
        assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_scheme_that_a_runtime_does_not_know_is_unsupported_with_a_reason(
    name: str, module: torch.nn.Module, samples: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match=r"\w+ \w+"):
        plugins.load("runtimes", name).export(module, samples, "int3-imaginary", tmp_path)


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
@pytest.mark.parametrize("scheme", ["fp32", "int8-static"])
def test_a_profile_tells_every_layer_and_less_than_a_second_or_why_there_is_none(
    name: str, scheme: str, samples: np.ndarray, artifacts: Callable[..., Path]
) -> None:
    runtime = plugins.load("runtimes", name)
    if not hasattr(runtime, "profile") or scheme not in LISTED[name]:
        return
    began = time.monotonic()
    try:
        found = runtime.profile(artifacts(name, scheme), samples[:1], threads=1)
    except Unsupported as told:
        found, reason = None, str(told)
    if found is None:
        assert len(reason.split()) > 5
        return
    took_ns = 1e9 * (time.monotonic() - began)
    assert found.inferences >= profiles.MIN_CALLS
    assert all(of.name and of.kind and of.where and 0 <= of.time_ns < took_ns for of in found.operators)
    # Engines fuse what lies around convolutions, never two of them; one that took no whole µs may be left out.
    convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in build_module().modules())
    assert convolutions / 2 <= sum("conv" in of.kind.lower() for of in found.operators) <= convolutions
    # A profiled inference takes no less than its operators do.
    assert 0 < found.inferences * sum(of.time_ns for of in found.operators) < took_ns


@pytest.mark.parametrize("name", plugins.list_names("runtimes"))
def test_a_runtime_describes_its_engine_in_text(name: str) -> None:
    described = plugins.load("runtimes", name).describe()
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in described.items())
