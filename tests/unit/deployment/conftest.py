"""Fixtures of the deployment tests: bundles that are written once, and a project with fake devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from edgeproof.deployment import device_deployment, device_program, limits
from tests.support import deployment_project

# A limit that needs no measurement.
BUDGET = {"size_mb": 10}


class MakeProject(Protocol):
    """Writes a project and enters it; returns its directory."""

    def __call__(self, *names: str, cards: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
        """Devices in `names` have a budget without latency and the tag 'kitchen'; `cards` holds further devices."""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the bundles of all versions once. Tests copy them."""
    root = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("EDGEPROOF_PLUGINS", str(root / "plugins"))
        return deployment_project.write_bundles(root, root / "plugins")


@pytest.fixture
def make_project(bundles: Path, tmp_path: Path, plugin_root: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProject:
    """Return a function that writes a project with fake devices and runs the test in it. Measurements are short."""
    monkeypatch.delenv("EDGEPROOF_SIGNING_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(device_deployment, "PAUSE_S", 0.0)
    monkeypatch.setattr(device_program, "LOCK_WAIT_S", 0.3)
    monkeypatch.setattr(limits, "MEASURE_S", 0.01)

    def make(*names: str, cards: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
        devices: dict[str, Mapping[str, Any]] = {name: {"budget": BUDGET, "tags": ["kitchen"]} for name in names}
        root = tmp_path / "project"
        deployment_project.write_project(root, bundles, {**devices, **(cards or {})})
        monkeypatch.chdir(root)
        return root

    return make
