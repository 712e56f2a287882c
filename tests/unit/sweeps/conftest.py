"""Fixtures of the sweep tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.config.params import Params
from edgeproof.study import git, worktrees
from edgeproof.sweeps import worktree_pool
from edgeproof.sweeps.points import ComposedPoint
from tests.support.sweep_points import compose_point


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into an empty project whose code never changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worktree_pool, "prepare_code", lambda: "c" * 64)
    monkeypatch.setattr(git, "run_git", lambda *words: "h" * 40)
    monkeypatch.setattr(worktrees, "list_changes_since_head", lambda: [])
    return tmp_path


@pytest.fixture
def grid(digits_study: Params) -> list[ComposedPoint]:
    """Return four points of the digits study: two ratios of pruning by two numbers of bits."""
    return [compose_point(digits_study, ratio=ratio, bits=bits) for ratio in (0.2, 0.4) for bits in (3, 4)]
