"""Check that the working directory is an edgeproof project: one of a user, or a clone of the repository."""

from __future__ import annotations

from pathlib import Path

from edgeproof.core.errors import ConfigError
from edgeproof.core.plugins import PROJECT_MARKER
from edgeproof.paths import SOURCES

# Every command that composes a study reads this file.
MARKER = PROJECT_MARKER


def is_project(directory: Path) -> bool:
    """Return True if a directory is the root of a project."""
    return (directory / MARKER).is_file()


def require_project() -> None:
    """Raise ConfigError, with the command that leads to a project, unless the working directory is one."""
    here = Path.cwd()
    if is_project(here):
        return
    # A parent directory comes first, then the clone that this program is installed from.
    nearest = next((directory for directory in [*here.parents, SOURCES] if is_project(directory)), None)
    cure = f"Go to one: cd {nearest}, or make one here: edgeproof init" if nearest else "Make one: edgeproof init"
    raise ConfigError(f"{here} is not an edgeproof project: it has no {MARKER}. {cure}")
