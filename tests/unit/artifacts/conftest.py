"""Fixtures of tests of external files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edgeproof.bench import external
from tests.support.external_project import write_project
from tests.support.verdict_limits import TOLERANT


@pytest.fixture
def bench_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project for 'edgeproof bench', which is the working directory."""
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path)


@pytest.fixture(scope="module")
def tolerant_limits() -> Iterator[None]:
    """Accept runs that other tests disturb."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external, "measure_files", partial(external.measure_files, limits=TOLERANT))
        yield
