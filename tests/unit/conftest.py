"""What unit tests share: the project's root, property tests that are the same every time, and torch's settings kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgeproof.config.params import Params

ROOT = Path(__file__).parents[2]

settings.register_profile(
    "edgeproof",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("edgeproof")


@pytest.fixture
def project_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in the project's root, where conf/, devices/ and requirements.lock lie."""
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def digits_study() -> Params:
    """The digits study, composed once for all tests that only read it."""
    from edgeproof.config import compose

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(ROOT)
        return compose.compose("digits")


@pytest.fixture
def plugin_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory for plugins that live outside the package."""
    root = tmp_path / "plugins"
    for kind in ("tasks", "networks", "methods", "runtimes", "transports"):
        (root / kind).mkdir(parents=True)
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(root))
    return root


@pytest.fixture
def torch_settings_kept() -> Iterator[None]:
    """One thread, and afterwards torch's own threads, generator and strictness again."""
    import torch

    kept = torch.get_num_threads(), torch.get_rng_state(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept[0])
    torch.set_rng_state(kept[1])
    torch.set_deterministic_debug_mode(kept[2])
