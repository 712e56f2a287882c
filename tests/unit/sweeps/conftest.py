"""Fixtures of the sweep tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.study import git, worktrees
from edgeproof.sweeps import worktree_pool


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into an empty project whose code never changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worktree_pool, "prepare_code", lambda: "c" * 64)
    monkeypatch.setattr(git, "run_git", lambda *words: "h" * 40)
    monkeypatch.setattr(worktrees, "list_changes_since_head", lambda: [])
    return tmp_path
