"""Fixtures of all unit tests, and reproducible settings for property tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgeproof.bench.patience import Patience
from edgeproof.config.params import Params
from tests.support.project import ROOT

settings.register_profile(
    "edgeproof",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("edgeproof")

# Sessions of tests neither wait for a quiet machine nor stop on a busy one. The processes of tests inherit this.
os.environ |= Patience(seconds=0, measures_busy=True).to_environment()

# A shell starts background jobs (make test &) with Ctrl-C ignored, and every program that they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def project_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in the project's root, which has conf/, devices/ and requirements.lock, without external plugins."""
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def digits_study() -> Params:
    """Return the digits study. It is composed once, so tests must not change it."""
    from edgeproof.config import compose

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(ROOT)
        return compose.compose("digits")


@pytest.fixture
def plugin_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty external plugin directory that EDGEPROOF_PLUGINS names."""
    root = tmp_path / "plugins"
    for kind in ("tasks", "networks", "methods", "runtimes", "transports"):
        (root / kind).mkdir(parents=True)
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(root))
    return root


@pytest.fixture
def restore_torch_settings() -> Iterator[None]:
    """Run the test with one torch thread; afterwards restore threads, random state and the deterministic mode."""
    import torch

    threads, random_state, mode = torch.get_num_threads(), torch.get_rng_state(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(random_state)
    torch.set_deterministic_debug_mode(mode)
