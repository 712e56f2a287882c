"""Give a worktree the DVC settings of the main checkout: cache directory, link types, remotes and credentials.

This module and pipeline.py are the only ones that use DVC's Python API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.exceptions import DvcException

from edgeproof.core.errors import ConfigError

DVC = Path(".dvc")
LOCAL = "config.local"
# Only the user may read the file, because it may hold the credentials of a remote.
LOCAL_MODE = 0o600


def write_local_config(worktree: Path, main: Path = Path()) -> None:
    """Write the worktree's .dvc/config.local from .dvc/config and .dvc/config.local of the checkout `main`.

    Relative paths of the main checkout become absolute. Without a cache directory in DVC's settings, also in those of
    the user and the system, it is .dvc/cache of the main checkout. Raises ConfigError for settings that DVC refuses.
    """
    path = worktree / DVC / LOCAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(LOCAL_MODE)
    try:
        config = Config(str((main / DVC).resolve()))
        settings: dict[str, Any] = {}
        for level in ("repo", "local"):
            _merge(settings, config.read(level))
        if "dir" not in config["cache"]:
            settings["cache"]["dir"] = str((main / DVC / "cache").resolve())
        with Config(str((worktree / DVC).resolve())).edit("local") as content:
            content.update(settings)
    except DvcException as error:
        raise ConfigError(
            f"the settings of DVC in {main / DVC} are wrong: {error}. Edit them with 'dvc config'."
        ) from None


def _merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    """Put the values of `source` over those of `target`, section by section, as plain text with absolute paths."""
    for key, value in source.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = str(value) if isinstance(value, str) else value
