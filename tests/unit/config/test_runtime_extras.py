"""Runtimes that are extras: a missing package is a reason with the command that installs it, and never an error."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from edgeproof.config import packages, runtime_extras
from edgeproof.config.params import ExportParams
from edgeproof.core.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that decides which packages seem to be installed. A version of None hides a package."""
    real = metadata.version

    def pretend(**versions: str | None) -> None:
        def find_version(name: str) -> str:
            if name.lower() not in versions:
                return real(name)
            if (version := versions[name.lower()]) is None:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(metadata, "version", find_version)

    return pretend


def test_a_hidden_package_is_a_reason_with_the_command(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    install(mnn=None)
    reason = runtime_extras.explain_absence("mnn", {"mnn": "3.6.1"})
    assert reason == "mnn 3.6.1 is not installed. Install the runtime: pip install 'edgeproof[mnn]'"


def test_another_version_is_a_reason_too(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    install(mnn="3.0.0")
    reason = runtime_extras.explain_absence("mnn", {"mnn": "3.6.1"})
    assert reason is not None
    assert reason.startswith("mnn is 3.0.0, the study was composed for 3.6.1. Install the runtime")


def test_an_installed_extra_and_a_runtime_without_extra_have_no_reason(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    install(mnn="3.6.1")
    assert runtime_extras.explain_absence("mnn", {"mnn": "3.6.1"}) is None
    assert runtime_extras.explain_absence("onnx", {"onnxruntime": metadata.version("onnxruntime")}) is None
    with pytest.raises(ConfigError, match="make setup"):
        runtime_extras.explain_absence("onnx", {"onnxruntime": "0.0.1"})


def test_the_export_depends_on_what_is_installed_so_that_it_runs_again_after_an_installation(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    install(mnn="3.6.1")
    present = runtime_extras.pin_for_export("mnn", ["mnn", "numpy"])
    install(mnn=None)
    absent = runtime_extras.pin_for_export("mnn", ["mnn", "numpy"])
    assert present["numpy"] == absent["numpy"]
    assert (present["mnn"], absent["mnn"]) == ("3.6.1", "3.6.1 (found: nothing)")
    assert "mnn 3.6.1 is not installed." in str(runtime_extras.explain_absence("mnn", absent))
    install(mnn="3.0.0")
    assert runtime_extras.pin_for_export("mnn", ["mnn"]) == {"mnn": "3.6.1 (found: 3.0.0)"}


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_plugin_whose_pinned_package_is_missing_is_a_reason_with_the_command(
    has_lock: bool, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT if has_lock else tmp_path)
    monkeypatch.setattr(runtime_extras, "find_extra", lambda runtime: None)
    install(**{"an-engine": None})
    versions = runtime_extras.pin_for_export("an_engine", ["numpy", "an-engine==3.12.0"])
    assert versions["an-engine"] == "3.12.0 (found: nothing)"
    reason = "an-engine 3.12.0 is not installed. Install the runtime: pip install an-engine==3.12.0"
    assert runtime_extras.explain_absence("an_engine", versions) == reason
    install(**{"an-engine": "3.12.0"})
    versions = runtime_extras.pin_for_export("an_engine", ["numpy", "an-engine==3.12.0"])
    assert versions["an-engine"] == "3.12.0"
    assert runtime_extras.explain_absence("an_engine", versions) is None


def test_every_artifact_of_an_absent_runtime_is_refused(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    item = ExportParams.model_validate(
        {
            "model": "m",
            "runtime": "mnn",
            "schemes": ["fp32", "fp16"],
            "seeds": [0, 1],
            "threads": 1,
            "packages": {"mnn": "3.6.1"},
        }
    )
    install(mnn=None)
    refusals = runtime_extras.refuse_artifacts(item)
    assert sorted(refusals) == ["fp16", "fp16.seed_1", "fp32", "fp32.seed_1"]
    assert len(set(refusals.values())) == 1
    install(mnn="3.6.1")
    assert runtime_extras.refuse_artifacts(item) == {}


def test_without_a_lock_a_missing_extra_has_the_version_that_edgeproof_requires(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["numpy==1", "MNN==9.9 ; extra == 'mnn'", "ncnn; extra=='x'"]
    )
    install(mnn=None, ncnn=None)
    assert packages.pin(["mnn"]) == {"mnn": "9.9"}
    with pytest.raises(ConfigError, match="ncnn is not installed"):
        packages.pin(["ncnn"])
