"""Files and folders of the user's own that a study reads: data of its task, and weights of its models.

A study that runs in a worktree finds them by the same relative paths, through links.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeproof.config.params import MODEL_STAGES, NO_OWN_DATA, Params
from edgeproof.paths import DATA, MODELS


def list_own_paths(params: Params) -> list[Path]:
    """Return the paths of the user's own data and weights that a study depends on."""
    return list(dict.fromkeys(_walk_own_paths(params)))


def link_own_files(params: Params, directory: Path) -> None:
    """Link the user's own data and weights, where their paths are relative, into a worktree at the same places."""
    for path in list_own_paths(params):
        target = directory / path
        if path.is_absolute() or ".." in path.parts or not path.exists() or target.exists():
            continue
        target.unlink(missing_ok=True)  # a link to a place that is gone
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve(), target_is_directory=path.is_dir())


def _walk_own_paths(params: Params) -> Iterator[Path]:
    if params.task.depends_on != NO_OWN_DATA:
        yield Path(params.task.depends_on)
    built = (f"{MODELS}/", f"{DATA}/{params.task.name}/")
    for stage in MODEL_STAGES:
        for item in getattr(params, stage).values():
            if item.parent is None and not item.inputs.parent.startswith(built):
                yield Path(item.inputs.parent)
