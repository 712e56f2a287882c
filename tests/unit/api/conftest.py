"""A project in which the functions of the Python API measure within seconds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from edgeproof.bench import external
from tests.support.external_project import write_project
from tests.support.verdict_limits import TOLERANT


@pytest.fixture
def api_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project, which is the working directory. Runs that other tests disturb are accepted."""
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(external, "measure_files", partial(external.measure_files, limits=TOLERANT))
    return write_project(tmp_path)
