"""List what lies below a directory without following links, so that nothing from outside passes as its content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DirectoryContent:
    """The content of a directory, as sorted relative paths with forward slashes.

    Attributes:
        files: regular files.
        others: symbolic links, pipes, sockets and devices. Their targets are not listed.
    """

    files: tuple[str, ...]
    others: tuple[str, ...]


def list_content(directory: Path) -> DirectoryContent:
    """List the files below a directory. Raises OSError for a directory that cannot be read."""
    files: list[str] = []
    others: list[str] = []
    waiting = [(str(directory), "")]
    while waiting:
        path, prefix = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{name}/"))
                elif entry.is_file(follow_symlinks=False):
                    files.append(name)
                else:
                    others.append(name)
    return DirectoryContent(tuple(sorted(files)), tuple(sorted(others)))


def is_regular_file(path: Path) -> bool:
    """Return True for a regular file that is not reached through a link of its own."""
    return path.is_file() and not path.is_symlink()
