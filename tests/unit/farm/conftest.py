"""Fixtures of the farm tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import make_empty_project


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a project that is empty."""
    make_empty_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
