"""The project's root directory, and empty projects."""

from __future__ import annotations

from pathlib import Path

from edgeproof.config.project import MARKER

ROOT = Path(__file__).parents[2]


def make_empty_project(directory: Path) -> None:
    """Make a directory a project without studies, for commands that compose nothing."""
    (directory / MARKER).parent.mkdir(parents=True)
    (directory / MARKER).touch()
