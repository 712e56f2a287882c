"""Check that the working directory is an edgeproof project, a clone of the repository."""

from __future__ import annotations

from pathlib import Path

from edgeproof.core.errors import ConfigError

# Every command that composes, measures or lists devices reads this directory.
MARKER = Path("conf/runtimes")
REPOSITORY = Path(__file__).parents[2]


def is_project(directory: Path) -> bool:
    """Return True if a directory is the root of a project."""
    return (directory / MARKER).is_dir()


def require_project() -> None:
    """Raise ConfigError, with the command that leads to a project, unless the working directory is one."""
    here = Path.cwd()
    if is_project(here):
        return
    # A parent directory comes first, then the clone that this program is installed from.
    nearest = next((directory for directory in [*here.parents, REPOSITORY] if is_project(directory)), None)
    cure = f"Go to one: cd {nearest}" if nearest is not None else "Clone edgeproof with git, and 'cd' into the clone"
    raise ConfigError(f"{here} is not an edgeproof project: it has no {MARKER}/. {cure}")
