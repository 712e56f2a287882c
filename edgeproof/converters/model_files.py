"""Checks of a file that a user brings, before any library opens it."""

from __future__ import annotations

import stat
from pathlib import Path

from edgeproof.core.errors import ConfigError

LFS_HEADER = b"version https://git-lfs.github.com/spec/"


def check_regular_file(path: Path) -> None:
    """Raise ConfigError for anything but a regular file with content: a FIFO, a device file, a pointer of Git LFS.

    Reading a FIFO or a device file may never end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        link = " It is a link to nothing." if path.is_symlink() else ""
        if link or isinstance(error, FileNotFoundError):
            raise ConfigError(f"{path} does not exist.{link}") from None
        raise ConfigError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(mode):
        kind = "directory" if stat.S_ISDIR(mode) else "FIFO, a socket or a device file"
        raise ConfigError(f"{path} is a {kind}, and a regular file is needed.")
    try:
        with path.open("rb") as stream:
            header = stream.read(len(LFS_HEADER))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from None
    if header == LFS_HEADER:
        raise ConfigError(
            f"{path} is a Git LFS pointer, and the file itself was not downloaded. Run 'git lfs pull' there."
        )


def find_sibling(path: Path, suffix: str) -> Path:
    """Return the file with the same stem and another suffix, also in capitals. Raises ConfigError if there is none."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.exists():
            check_regular_file(candidate)
            return candidate
    name = path.with_suffix(suffix).name
    raise ConfigError(f"{path} has no {name} beside it. That file holds its weights: copy it there.")
