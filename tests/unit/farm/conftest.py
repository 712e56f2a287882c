"""Fixtures of the farm tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.config import project


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a project that is empty."""
    (tmp_path / project.MARKER).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
